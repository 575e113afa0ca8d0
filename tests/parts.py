"""Helpers that read what a page or a chart draws."""

import base64
import json
import zlib
from typing import Any

import altair as alt
from streamlit.testing.v1 import AppTest

from app.charts.figure import Chart
from mor_core.server.jobs import Job
from tests.waiting import wait_for


def components(page: AppTest) -> list[Any]:
    """Return a page's browser components in order, without the header's."""
    return [part for part in page.get("bidi_component") if "copied" not in _data(part)]


def await_jobs(page: AppTest, *jobs: Job) -> None:
    """Wait for jobs like a watching viewer, then rerun the page."""

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
    """Return the events in a polled batch, as the browser unpacks them."""
    events: list[dict[str, Any]] = json.loads(zlib.decompress(base64.b64decode(batch["packed"])))
    return events


def layers(chart: Chart, mark: str) -> list[dict[str, Any]]:
    """Return an Altair chart's layers with a mark, from its Vega-Lite specification, each with its data as `rows`."""
    assert isinstance(chart.figure, alt.LayerChart)
    spec = chart.figure.to_dict()
    found = [layer for layer in spec["layer"] if layer["mark"]["type"] == mark]
    shared = spec.get("data", {}).get("name")
    return [
        layer | {"rows": spec["datasets"][layer.get("data", {}).get("name", shared)]}
        for layer in found
    ]
