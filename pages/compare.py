"""Compare: what changes on the same text, under two checkpoints or two settings?"""

from app.runs import resources
from app.views import compare_picker, compare_view

checkpoints = resources.list_checkpoints()
runs, badge = compare_picker.choose(checkpoints)
if runs is not None:
    compare_view.draw(runs, badge, checkpoints)
