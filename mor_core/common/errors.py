"""Errors that a user can cause, with a stable name and values: whoever shows them can say them in other words."""


class UserError(ValueError):
    """An error that a user can cause; its text says the field, the rule, the value and the remedy.

    Attributes:
        code: a stable name of what is wrong; empty where there is none.
        fields: what the text names, by name.
    """

    def __init__(self, message: str, code: str = "", **fields: object) -> None:
        super().__init__(message)
        self.code = code
        self.fields = fields
