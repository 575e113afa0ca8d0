"""Checkpoints: which models are there, where do they run, and what memory do they take?"""

from app.frame import page_parts
from app.text.words import say
from app.views import checkpoints_view as view

page_parts.heading(say("checkpoints.title"), "checkpoint")
view.memory()
place = view.choose_place()
view.progress()
view.models(place)
view.open_folder()
