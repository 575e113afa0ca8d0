"""KV cache: what is kept?"""

from app.frame import links
from app.runs import resources
from app.views import kv_view as view
from app.views import run_picker

chosen = run_picker.choose(resources.list_checkpoints())
links.remember(chosen.checkpoint, chosen.name)
run_picker.provenance(chosen)
if chosen.trace is not None:
    view.occupancy_panel(chosen.trace)
    view.growth_panel(chosen.trace)
    if chosen.info is not None:
        view.strategies_panel(chosen.info, chosen.trace)
view.paper_panel(chosen.trace)
