"""Helpers that know nobody.

Errors for users, small numeric and JSON helpers, the machine, log levels, progress.
Imports no torch and no other package of this project.
Not here: what only one package needs belongs to that package.
"""
