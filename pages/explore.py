"""Explore: where did the depth go in this text?"""

from app import explore_source, explore_view, links, loading
from app.strip import token_strip

chosen = explore_source.choose(loading.list_checkpoints())
if chosen is not None:
    view = links.view_of_run(chosen.checkpoint, chosen.name)
    drawn = token_strip(chosen.trace, key="explore_strip", badge=chosen.badge, view=view)
    links.remember(chosen.checkpoint, chosen.name, drawn.view or view)
    explore_view.draw(chosen.trace, drawn)
