"""The six lessons as data: what each shows, what is guessed in it, and which answer is right.

Their words are in `words/lessons.toml`, their numbers in `lesson_facts.py`. Pure: traces in, positions and numbers out.
"""

from dataclasses import dataclass

from app.learn.lesson_scores import Scale
from mor_core.generation.lesson_runs import CAUSAL_RUN, TEXT
from mor_core.traces.trace import TokenRecord, Trace

READ, PREDICT, REVEAL, KNOB, CHECK = STEPS = ("read", "predict", "reveal", "knob", "check")
SHEET = "print"
FIRST_TOP_K = "read-top_k-1"
ALL_TOP_K = "read-top_k-6"
RAISED_LOGIT = 2


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes:
        name: of its entries in the words.
        terms: of the glossary, behind the heading's question mark.
        num_answers: of the check question.
        right: the right answer, counted from 1.
        shown: the run whose text stands in the prediction.
        scale: of the number to guess; `None` where tokens are picked.
        max_picks: how many tokens may be picked.
    """

    name: str
    terms: tuple[str, ...]
    num_answers: int
    right: int
    shown: str = CAUSAL_RUN
    scale: Scale | None = None
    max_picks: int = 0


LESSONS = (
    Lesson("layers", ("recursion", "recursion depth"), 4, 2, max_picks=8),
    Lesson("router", ("router", "router score"), 4, 3, scale=Scale(0, 60, 1, ".0f")),
    Lesson("choice", ("causal rule", "top-k rule"), 4, 4, shown=FIRST_TOP_K, max_picks=4),
    Lesson("caches", ("KV cache",), 4, 1, scale=Scale(0, 100, 1, ".0f")),
    Lesson("pays", ("active FLOPs", "full depth"), 4, 3, scale=Scale(0, 60, 1, ".0f")),
    Lesson("proof", ("gate", "perplexity"), 4, 2, scale=Scale(0, 0.3, 0.005, ".3f")),
)


def parse_place(lesson: str, step: str) -> tuple[int, str]:
    """Read a link: the lesson's number from 1, and a step; what does not exist becomes the nearest beginning."""
    number = int(lesson) if lesson.isascii() and lesson.isdigit() else 1
    number = number if 1 <= number <= len(LESSONS) else 1
    if step == SHEET:
        return number, SHEET
    index = int(step) if step.isascii() and step.isdigit() else 1
    return number, STEPS[index - 1] if 1 <= index <= len(STEPS) else READ


def step_link(step: str) -> str:
    """Write a step as a link names it."""
    return step if step == SHEET else str(STEPS.index(step) + 1)


def neighbours(number: int, step: str) -> tuple[tuple[int, str] | None, tuple[int, str] | None]:
    """Return the place before and the place after a step, across lessons."""
    places = [(lesson, name) for lesson in range(1, len(LESSONS) + 1) for name in STEPS]
    index = places.index((number, step))
    before = places[index - 1] if index else None
    return before, places[index + 1] if index + 1 < len(places) else None


def content(trace: Trace) -> list[TokenRecord]:
    """Return a run's tokens without the special ones, which no lesson counts."""
    return [token for token in trace.tokens if not token.special]


def deepest(trace: Trace) -> set[int]:
    """Return the positions of the content tokens that took every recursion."""
    last = trace.header.num_recursions
    return {token.position for token in content(trace) if token.recursion_depth == last}


def changed(first: Trace, second: Trace) -> set[int]:
    """Return the positions that both runs have and whose depths differ."""
    pairs = zip(content(first), content(second), strict=False)
    return {a.position for a, b in pairs if a.recursion_depth != b.recursion_depth}


def surprise(trace: Trace) -> float:
    """Return the mean surprise of a text's content tokens, in nats."""
    values = [-t.log_probability for t in content(trace) if t.log_probability is not None]
    return sum(values) / len(values)


def repeated(trace: Trace) -> dict[str, list[int]]:
    """Return the tokens that occur at least three times, with their positions."""
    places: dict[str, list[int]] = {}
    for token in content(trace):
        places.setdefault(token.text, []).append(token.position)
    return {text: found for text, found in places.items() if len(found) >= 3}


def is_lesson_text(trace: Trace) -> bool:
    """Whether a run reads the text that these lessons were written for."""
    text = b"".join(bytes.fromhex(token.token_bytes) for token in content(trace)).decode()
    return bool(text) and TEXT.startswith(text)
