"""Explore: where did the depth go in this text?"""

from app import explore_source, explore_view, loading
from app.strip import token_strip

trace, badge = explore_source.choose(loading.list_checkpoints())
if trace is not None:
    drawn = token_strip(trace, key="explore_strip", badge=badge)
    explore_view.draw(trace, drawn.pin)
