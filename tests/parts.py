"""What a page has drawn, the header's own parts left out."""

import base64
import json
import zlib
from typing import Any

from streamlit.testing.v1 import AppTest

from mor_core.server.jobs import Job
from tests.waiting import wait_for


def components(page: AppTest) -> list[Any]:
    """Return the browser components of a page, in order."""
    return [part for part in page.get("bidi_component") if "copied" not in _data(part)]


def await_jobs(page: AppTest, *jobs: Job) -> None:
    """Wait for the runs as somebody who watches them, then draw the page again."""

    def are_over() -> bool:
        for job in jobs:
            job.touch()
        return all(job.is_finished for job in jobs)

    wait_for(are_over)
    page.run()
    assert not page.exception


def _data(part: Any) -> dict[str, Any]:
    return json.loads(part.proto.json) if part.proto.json else {}


def unpacked(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events that a browser without the event route reads from a batch."""
    events: list[dict[str, Any]] = json.loads(zlib.decompress(base64.b64decode(batch["packed"])))
    return events
