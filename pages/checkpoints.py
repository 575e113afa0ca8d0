"""Checkpoints: which models are there, where do they run, and what memory do they take?"""

from app import checkpoints_view as view
from app import frame
from app.words import say

frame.heading(say("checkpoints.title"), "checkpoint")
view.memory()
place = view.choose_place()
view.progress()
view.models(place)
view.open_folder()
