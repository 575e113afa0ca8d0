"""Polling for browsers that cannot read the event route: the component asks for events, and a rerun sends them.

A new rerun discards what Streamlit has not yet sent, so only the browser knows which events have arrived.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from app.runs import jobs
from mor_core.server.jobs import Job


def batch(job: Job, asks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the events of a run that the browser lacks, compressed, and record that a viewer watches.

    Args:
        job: the run.
        asks: the browser's last request: its number, and how many events of which run the browser has.
    """
    job.touch()
    found = jobs.batch(job, _whole(asks.get(job.id)))
    text = json.dumps(found.pop("events"), separators=(",", ":"), allow_nan=False)
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return {**found, "packed": packed, "answers": _whole(asks.get("question"))}


def _whole(value: Any) -> int:
    """Return a count from the browser; 0 if the value is not a number."""
    return value if isinstance(value, int) and value >= 0 else 0
