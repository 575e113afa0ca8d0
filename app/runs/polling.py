"""Hands runs, alone or two in a race, to a browser that cannot read the event route: it asks, a rerun answers.

Streamlit clears what is under way when another rerun begins, so only the browser knows what has arrived.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.runs.jobs import Job, job_batch, job_manager


def batch(job: Job, asks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the events of a run that its browser lacks, compressed to a quarter, and note that somebody watches.

    Args:
        job: the run.
        asks: what the browser said last: the number of its question, and how many events of which run it has.
    """
    job.touch()
    found = job_batch(job, _whole(asks.get(job.id)), job_manager().num_ahead(job))
    text = json.dumps(found.pop("events"), separators=(",", ":"), allow_nan=False)
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return {**found, "packed": packed, "answers": _whole(asks.get("question"))}


@dataclass
class Race:
    """Two runs that are generated at the same time.

    Attributes:
        jobs: of A and B.
        names: of A and B.
    """

    jobs: tuple[Job, Job]
    names: tuple[str, str]

    @property
    def id(self) -> str:
        """Name of the race."""
        return f"{self.jobs[0].id}+{self.jobs[1].id}"

    @property
    def is_finished(self) -> bool:
        """Whether both runs are over."""
        return all(job.is_finished for job in self.jobs)


def _whole(value: Any) -> int:
    """Return a count from the browser; 0 for anything else."""
    return value if isinstance(value, int) and value >= 0 else 0
