"""Error messages in a viewer's language: by the error's code where it has an entry, otherwise by its class.

The library's own messages are English; the entry of a class shows them as detail.
"""

from app.text.words import entries, say_in, viewer_language
from mor_core.checkpoints.placement import exhausted_memory
from mor_core.common.errors import UserError


def problem_text(error: BaseException, language: str | None = None) -> str:
    """Return what went wrong and what to do, without anything that belongs in the server's log only.

    Args:
        error: any.
        language: that of the viewer who reads it; by default the present viewer's. A worker's thread has none.
    """
    language = language or viewer_language()
    if where := exhausted_memory(error):
        return say_in(language, f"problems.no_memory_{where}")
    if isinstance(error, UserError) and f"problems.{error.code}" in entries():
        return say_in(language, f"problems.{error.code}", **error.fields)
    names = [kind.__name__ for kind in type(error).__mro__]
    kind = next(name for name in [*names, "Exception"] if f"problems.{name}" in entries())
    return say_in(language, f"problems.{kind}", detail=error, name=names[0])
