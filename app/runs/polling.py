"""Hands runs, alone or two in a race, to a browser that cannot read the event route: it asks, a rerun answers.

Streamlit clears what is under way when another rerun begins, so only the browser knows what has arrived.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from app.runs import jobs
from mor_core.server.jobs import Job


def batch(job: Job, asks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the events of a run that its browser lacks, compressed to a quarter, and note that somebody watches.

    Args:
        job: the run.
        asks: what the browser said last: the number of its question, and how many events of which run it has.
    """
    job.touch()
    found = jobs.batch(job, _whole(asks.get(job.id)))
    text = json.dumps(found.pop("events"), separators=(",", ":"), allow_nan=False)
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return {**found, "packed": packed, "answers": _whole(asks.get("question"))}


def _whole(value: Any) -> int:
    """Return a count from the browser; 0 for anything else."""
    return value if isinstance(value, int) and value >= 0 else 0
