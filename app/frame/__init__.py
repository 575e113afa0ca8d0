"""Parts that all pages share: header, links, messages, exports, the widgets of a routing rule.

They are the same on all pages.
Not here: one page's own parts (views).
"""
