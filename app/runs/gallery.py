"""The recorded runs of a checkpoint, grouped by what they show, with titles in the viewer's language.

A run of the gallery is known by the name of its file; one that is not is opened for its title. Draws nothing.
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
        name: of its file, without the suffix; also what a link calls it.
        path: of the file.
        group: what it shows.
        title: in the viewer's language if it is of the gallery.
    """

    name: str
    path: Path
    group: str
    title: str


def recorded_runs(folder: Path) -> tuple[list[Recorded], list[str]]:
    """Return the recorded runs of a checkpoint, in the order of the groups, and what is wrong with the others."""
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
    """Return the groups that have runs, in order."""
    return list(dict.fromkeys(run.group for run in runs))


def note_of(run: Recorded, header: TraceHeader) -> str:
    """Say what to look for in a run."""
    key = f"gallery.{_slug(run.name)}_note"
    return say(key) if key in entries() else header.note


def _slug(name: str) -> str:
    number, _, slug = name.partition("-")
    return slug if number.isdigit() else name
