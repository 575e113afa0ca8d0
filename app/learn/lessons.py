"""The six lessons as data: what each shows, what the viewer guesses, and which answer is correct.

Texts are in the words' `lessons.toml`, numbers in `lesson_facts.py`. Pure: traces in, positions and numbers out.
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
        name: prefix of the lesson's entries in the words.
        terms: glossary terms in the heading's help text.
        num_answers: number of answers to the check question.
        right: the correct answer, counted from 1.
        shown: name of the run whose text the prediction step shows.
        scale: scale of the number to guess; `None` if tokens are picked.
        max_picks: the maximum number of picked tokens.
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


def parse_link(lesson: str, step: str) -> tuple[int, str]:
    """Parse a link's lesson (from 1) and step; an unknown lesson becomes the first, an unknown step the first step."""
    number = int(lesson) if lesson.isascii() and lesson.isdigit() else 1
    number = number if 1 <= number <= len(LESSONS) else 1
    if step == SHEET:
        return number, SHEET
    index = int(step) if step.isascii() and step.isdigit() else 1
    return number, STEPS[index - 1] if 1 <= index <= len(STEPS) else READ


def step_link(step: str) -> str:
    """Return a step's name in links."""
    return step if step == SHEET else str(STEPS.index(step) + 1)


def neighbours(number: int, step: str) -> tuple[tuple[int, str] | None, tuple[int, str] | None]:
    """Return the steps before and after a step, across lessons, each as (lesson, step)."""
    steps = [(lesson, name) for lesson in range(1, len(LESSONS) + 1) for name in STEPS]
    index = steps.index((number, step))
    before = steps[index - 1] if index else None
    return before, steps[index + 1] if index + 1 < len(steps) else None


def content(trace: Trace) -> list[TokenRecord]:
    """Return a run's tokens without special tokens, which no lesson counts."""
    return [token for token in trace.tokens if not token.special]


def deepest(trace: Trace) -> set[int]:
    """Return the positions of the content tokens that took every recursion."""
    last = trace.header.num_recursions
    return {token.position for token in content(trace) if token.recursion_depth == last}


def changed(first: Trace, second: Trace) -> set[int]:
    """Return the positions in both runs whose depths differ."""
    pairs = zip(content(first), content(second), strict=False)
    return {a.position for a, b in pairs if a.recursion_depth != b.recursion_depth}


def surprise(trace: Trace) -> float:
    """Return the mean surprisal of a text's content tokens, in nats."""
    values = [-t.log_probability for t in content(trace) if t.log_probability is not None]
    return sum(values) / len(values)


def repeated(trace: Trace) -> dict[str, list[int]]:
    """Return the tokens that occur at least three times, with their positions."""
    positions: dict[str, list[int]] = {}
    for token in content(trace):
        positions.setdefault(token.text, []).append(token.position)
    return {text: found for text, found in positions.items() if len(found) >= 3}


def is_lesson_text(trace: Trace) -> bool:
    """Whether a run's text is the lessons' text or its beginning."""
    text = b"".join(bytes.fromhex(token.token_bytes) for token in content(trace)).decode()
    return bool(text) and TEXT.startswith(text)
