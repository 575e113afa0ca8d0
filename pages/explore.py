"""Explore: where did the depth go in this text?"""

from app import explore_source, explore_view, loading, notices
from app.strip import token_strip

trace, badge = explore_source.choose(loading.list_checkpoints())
if trace is not None:
    drawn = token_strip(trace, key="explore_strip", badge=badge)
    notices.trace_download(trace, key="explore_download")
    explore_view.draw(trace, drawn.pin)
