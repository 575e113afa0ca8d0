"""The `mor` command: options, help, terminal output.

Each command calls one function of the packages below.
Not here: anything that a user of the library may need.
"""
