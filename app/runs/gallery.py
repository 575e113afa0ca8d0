"""The recorded runs of a checkpoint, grouped by subject, with titles in the viewer's language.

The file name identifies a gallery run; other runs are opened to read their title. Draws nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.runs import resources
from app.text.error_messages import problem_text
from app.text.words import entries, say
from mor_core.traces.gallery import GALLERY, GROUPS
from mor_core.traces.trace import TRACE_SUFFIX, TraceHeader
from mor_core.traces.trace_file import TraceError

OTHERS = "other"
_GROUP_OF = {run.slug: run.group for run in GALLERY}


@dataclass(frozen=True)
class Recorded:
    """One recorded run.

    Attributes:
        name: file name without the suffix; also its name in links.
        path: path of the file.
        group: the gallery's group, by subject.
        title: the title, translated for gallery runs.
    """

    name: str
    path: Path
    group: str
    title: str


def recorded_runs(folder: Path) -> tuple[list[Recorded], list[str]]:
    """Return a checkpoint's recorded runs in the order of groups, and an error message for each damaged file."""
    found, problems = [], []
    for path in resources.recorded_traces(folder):
        name = path.name.removesuffix(TRACE_SUFFIX)
        slug = _slug(name)
        if slug in _GROUP_OF:
            found.append(Recorded(name, path, _GROUP_OF[slug], say(f"gallery.{slug}_title")))
            continue
        try:
            title = resources.open_trace(path).header.title
        except TraceError as error:
            problems.append(f"{path.name}: {problem_text(error)}")
            continue
        found.append(Recorded(name, path, OTHERS, title or name))
    order = [*GROUPS, OTHERS]
    return sorted(found, key=lambda run: (order.index(run.group), run.name)), problems


def groups_of(runs: Sequence[Recorded]) -> list[str]:
    """Return the groups of the given runs, in order."""
    return list(dict.fromkeys(run.group for run in runs))


def note_of(run: Recorded, header: TraceHeader) -> str:
    """Return a run's note on what to look for, in the viewer's language."""
    key = f"gallery.{_slug(run.name)}_note"
    return say(key) if key in entries() else header.note


def _slug(name: str) -> str:
    number, _, slug = name.partition("-")
    return slug if number.isdigit() else name
