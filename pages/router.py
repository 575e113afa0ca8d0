"""Router: how does the router decide?"""

from app.frame import links
from app.runs import resources
from app.views import router_view as view
from app.views import run_picker

chosen = run_picker.choose(resources.list_checkpoints())
links.remember(chosen.checkpoint, chosen.name)
run_picker.provenance(chosen)
view.draw(chosen)
