"""Errors that a user can cause. Each has a stable code and values, so that the app can translate it."""


class UserError(ValueError):
    """An error that a user can cause; its text states the field, the rule, the value and the remedy.

    Attributes:
        code: a stable name for the problem; empty if it has none.
        fields: the values that the text mentions, by name.
    """

    def __init__(self, message: str, code: str = "", **fields: object) -> None:
        super().__init__(message)
        self.code = code
        self.fields = fields
