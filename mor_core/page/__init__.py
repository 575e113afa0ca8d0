"""The page that draws a run: browser modules of strip, heatmaps and inspector, their bundling, the standalone HTML.

The caller passes words and colours, so this package contains no language and no palette.
Not here: the Streamlit components that use these modules, and the modules for two runs or lessons (app.components).
"""
