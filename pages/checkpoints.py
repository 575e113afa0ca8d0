"""Checkpoints: which models are available, where do they run, and how much memory do they take?"""

from app.frame import page_parts
from app.text.words import say
from app.views import checkpoints_view as view

page_parts.heading(say("checkpoints.title"), "checkpoint")
view.memory()
placement = view.choose_placement()
view.progress()
view.models(placement)
view.open_folder()
