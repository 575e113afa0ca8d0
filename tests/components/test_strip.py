"""What the token strip is given equals the run, and what it does with token text is safe."""

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from mor_core.traces.events import trace_events, trace_id
from mor_core.traces.thresholds import threshold_logits
from tests.scripted import DEPTHS, SLOTS, scripted_header, scripted_trace


def draw_recorded() -> None:
    from app.components.strip import token_strip
    from tests.scripted import scripted_trace

    token_strip(scripted_trace(), key="strip")


def draw_live() -> None:
    from app.components.strip import live_strip
    from mor_core.server.jobs import Job, job_batch
    from tests.scripted import scripted_run

    job = Job(scripted_run(), id="the-job")
    for update in scripted_run()(job.should_stop):
        job.take(update)
    live_strip(job, key="strip", batch=job_batch(job, 2))


def payload(function: Any) -> dict[str, Any]:
    app = AppTest.from_function(function, default_timeout=60).run()
    assert not app.exception
    return json.loads(app.get("bidi_component")[0].proto.json)


def test_recorded_run_reaches_the_browser_whole() -> None:
    data = payload(draw_recorded)
    trace = scripted_trace()
    header, tokens, end = data["batch"]["events"]
    assert [token["recursion_depth"] for token in tokens["completed"]] == list(DEPTHS)
    assert [token["cached_slots"] for token in tokens["completed"]] == [SLOTS[d] for d in DEPTHS]
    assert tokens["completed"] == json.loads(json.dumps([asdict(token) for token in trace.tokens]))
    assert tokens["steps"] == [asdict(step) for step in trace.steps]
    recursions = trace.header.num_recursions
    assert header["header"]["num_recursions"] == recursions
    assert len(data["colours"][str(recursions)]) == recursions
    assert end == {"kind": "end", "finish_reason": "length"}
    assert (data["badge"], data["live"], data["stream"]) == ("RECORDED", False, None)


def test_live_batch_starts_where_python_says() -> None:
    data = payload(draw_live)
    assert (data["run"], data["badge"], data["live"]) == ("the-job", "LIVE", True)
    assert data["batch"]["from"] == 2
    assert data["batch"]["events"][-1]["kind"] == "end"


def test_events_are_strict_json() -> None:
    json.dumps(trace_events(scripted_trace()), allow_nan=False)


def test_another_trace_has_another_id() -> None:
    first, second = scripted_trace(), scripted_trace()
    assert trace_id(first) == trace_id(second)
    second.tokens[-1].token_id += 1
    assert trace_id(first) != trace_id(second)


@pytest.mark.parametrize(
    ("routing", "factors", "expected"),
    [
        ({"name": "causal", "thresholds": [0.5]}, None, [None, 0.0, 0.0]),
        (
            {"name": "causal", "thresholds": [0.5, 0.9, 0.1]},
            None,
            [None, math.log(9), -math.log(9)],
        ),
        ({"name": "causal", "thresholds": [0.5]}, [0.8, 0.5, 0.2], [0.0, 0.0, 0.0]),
        ({"name": "aux", "thresholds": [0.5]}, None, [None, 0.0, 0.0]),
        ({"name": "causal", "thresholds": [0.5], "max_depth": 2}, None, [None, 0.0, None]),
        ({"name": "fixed", "depth": 2}, None, [None, None, None]),
        ({"name": "top_k"}, None, [None, None, None]),
    ],
)
def test_threshold_is_shown_only_where_it_decides(
    routing: dict[str, Any], factors: list[float] | None, expected: list[float | None]
) -> None:
    header = scripted_header()
    header.routing = routing
    header.config["capacity_factors"] = factors
    assert threshold_logits(header) == pytest.approx(expected)
