"""Live: what is the model doing right now?"""

from app import controls, live_view, loading

checkpoints = loading.list_checkpoints()
prompt = controls.prompt_field()
request = controls.settings(checkpoints, prompt) if checkpoints else None

job = live_view.transport(request)
live_view.panel(job, checkpoints)
live_view.keep(job)
