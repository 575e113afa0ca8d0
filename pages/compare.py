"""Compare: what changes on the same text, under two checkpoints or two settings?"""

from app import compare_source, compare_view, loading

checkpoints = loading.list_checkpoints()
runs, badge = compare_source.choose(checkpoints)
if runs is not None:
    compare_view.draw(runs, badge, checkpoints)
