"""Helpers that depend on no other package of this project.

Errors for users, small numeric and JSON helpers, facts about the machine, log levels, progress.
No module here imports torch when it is loaded.
Not here: what only one package needs belongs to that package.
"""
