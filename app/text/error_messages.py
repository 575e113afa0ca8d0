"""Error messages in a viewer's language, found by the error's code or else by its class.

Messages of `mor_core` are English; the text of a class includes them as detail.
"""

from app.text.words import entries, say_in, viewer_language
from mor_core.checkpoints.placement import exhausted_memory
from mor_core.common.errors import UserError


def problem_text(error: BaseException, language: str | None = None) -> str:
    """Return what went wrong and what to do, without details meant for the server's log.

    Args:
        error: any exception.
        language: the reader's language; by default the session's. A worker thread has no session, so it must pass one.
    """
    language = language or viewer_language()
    if where := exhausted_memory(error):
        return say_in(language, f"problems.no_memory_{where}")
    if isinstance(error, UserError) and f"problems.{error.code}" in entries():
        return say_in(language, f"problems.{error.code}", **error.fields)
    names = [kind.__name__ for kind in type(error).__mro__]
    kind = next(name for name in [*names, "Exception"] if f"problems.{name}" in entries())
    return say_in(language, f"problems.{kind}", detail=error, name=names[0])
