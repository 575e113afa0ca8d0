"""Explore: where did the model spend its depth in this text?"""

from app.components.strip import token_strip
from app.frame import links
from app.runs import resources
from app.views import explore_view, run_picker

chosen = run_picker.choose(resources.list_checkpoints())
if chosen.trace is not None:
    view = links.view_of_run(chosen.checkpoint, chosen.name)
    strip = token_strip(
        chosen.trace,
        key="explore_strip",
        badge=chosen.badge,
        view=view,
        pin=explore_view.clicked_position(),
    )
    links.remember(chosen.checkpoint, chosen.name, strip.view or view)
    explore_view.draw(chosen.trace, strip)
