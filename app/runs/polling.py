"""Polling for browsers that cannot read the event route: the component asks for events, and a rerun sends them.

A new rerun discards what Streamlit has not yet sent, so only the browser knows which events have arrived.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.runs.jobs import Job, job_batch, job_manager


def batch(job: Job, asks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the events of a run that the browser lacks, compressed, and record that a viewer watches.

    Args:
        job: the run.
        asks: the browser's last request: its number, and how many events of which run the browser has.
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
        jobs: the jobs of A and B.
        names: the names of A and B.
    """

    jobs: tuple[Job, Job]
    names: tuple[str, str]

    @property
    def id(self) -> str:
        """The race's id, made of the jobs' ids."""
        return f"{self.jobs[0].id}+{self.jobs[1].id}"

    @property
    def is_finished(self) -> bool:
        """Whether both runs are over."""
        return all(job.is_finished for job in self.jobs)


def _whole(value: Any) -> int:
    """Return a count from the browser; 0 if the value is not a number."""
    return value if isinstance(value, int) and value >= 0 else 0
