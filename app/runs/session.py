"""The state of a viewer's session: the only file that uses `st.session_state`."""

import secrets
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.runs.bench_job import BenchJob
from app.style.palettes import DEFAULT, NORMAL_TEXT, PALETTES
from app.text.words import ENGLISH
from mor_core.server.fair_queue import Owner
from mor_core.server.jobs import Job
from mor_core.traces.trace import Trace

if TYPE_CHECKING:
    from app.runs.requests import GenerationRequest

PROMPT = "live_prompt"
PRESET = "live_preset"
LANGUAGE = "lang"
PALETTE = "palette"
TEXT_SIZE = "text"
COMPARE_SOURCE = "compare_source"
PRESENT = "present"
MAX_KEPT_RUNS = 5


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


def owner(purpose: str) -> Owner | None:
    """Return this viewer as the owner of a run for a purpose; a newer run for it replaces one that still waits."""
    if not _is_session():
        return None
    viewer = st.session_state.setdefault("viewer", secrets.token_hex(8))
    return Owner(viewer, purpose)


def live_job() -> Job | None:
    """Return this viewer's run, running or finished."""
    return cast(Job | None, st.session_state.get("live_job"))


def kept_runs() -> list[Trace]:
    """Return this viewer's earlier finished runs, the newest first."""
    return cast(list[Trace], st.session_state.setdefault("kept_runs", []))


def live_request() -> "GenerationRequest | None":
    """Return the present run's request."""
    return cast("GenerationRequest | None", st.session_state.get("live_request"))


def set_live_job(job: Job, request: "GenerationRequest | None" = None) -> None:
    """Store a new run and its request, and keep the previous run's trace."""
    before = live_job()
    if before is not None and before.is_finished and before.trace is not None:
        st.session_state["kept_runs"] = [before.trace, *kept_runs()][:MAX_KEPT_RUNS]
    st.session_state["live_request"] = request
    st.session_state["live_job"] = job
    st.session_state["live_message"] = ""


def asks(component: str) -> Mapping[str, Any]:
    """Return a component's last request before it is drawn: its number, and how many events of which run it has."""
    held = st.session_state.get(component)
    asked = held.get("asks") if isinstance(held, Mapping) else None
    return asked if isinstance(asked, Mapping) else {}


def selected_position(chart: str, selection: str) -> int | None:
    """Return the position selected in a chart, before the chart is redrawn; `None` without a selection."""
    held = st.session_state.get(chart)
    points = held.get("selection", {}).get(selection) if isinstance(held, Mapping) else None
    return int(points[0]["position"]) if points else None


def live_message() -> str:
    """Return why the last press of Run started no run."""
    return str(st.session_state.get("live_message", ""))


def set_live_message(message: str) -> None:
    """Store why Run started no run."""
    st.session_state["live_message"] = message


def is_stream_unreachable() -> bool:
    """Whether this browser cannot read the event route."""
    return bool(st.session_state.get("stream_unreachable", False))


def set_stream_unreachable() -> None:
    """Use polling instead of the event route in this session."""
    st.session_state["stream_unreachable"] = True


def prompt() -> str | None:
    """Return the text in the prompt field; `None` before it is first drawn."""
    return cast(str | None, st.session_state.get(PROMPT))


def set_prompt(text: str) -> None:
    """Fill the prompt field; call it only before the field is drawn."""
    st.session_state[PROMPT] = text


def preset_title() -> str | None:
    """Return the title of the chosen preset."""
    return cast(str | None, st.session_state.get(PRESET))


def is_presenting() -> bool:
    """Whether presenter mode is on; the link sets the initial state."""
    if not _is_session():
        return False
    return bool(st.session_state.setdefault(PRESENT, st.query_params.get(PRESENT) == "1"))


def set_presenting(presents: bool) -> None:
    """Enter or leave presenter mode, in the session and in the link."""
    st.session_state[PRESENT] = presents
    if presents:
        st.query_params[PRESENT] = "1"
    else:
        st.query_params.pop(PRESENT, None)


def analysis_job() -> Job | None:
    """Return this viewer's last analysis job, running or finished."""
    return cast(Job | None, st.session_state.get("analysis_job"))


def set_analysis_job(job: Job | None) -> None:
    """Store a new analysis job."""
    st.session_state["analysis_job"] = job


def compare_jobs() -> tuple[Job, Job] | None:
    """Return this viewer's last two analysis jobs on one text, running or finished."""
    return cast(tuple[Job, Job] | None, st.session_state.get("compare_jobs"))


def set_compare_jobs(jobs: tuple[Job, Job]) -> None:
    """Store two new analysis jobs."""
    st.session_state["compare_jobs"] = jobs


def race() -> Race | None:
    """Return this viewer's race, running or finished."""
    return cast(Race | None, st.session_state.get("race"))


def set_race(jobs: tuple[Job, Job], names: tuple[str, str]) -> None:
    """Store a new race."""
    st.session_state["race"] = Race(jobs, names)


def raced_runs() -> tuple[Trace, Trace] | None:
    """Return the runs of this viewer's last finished race."""
    return cast(tuple[Trace, Trace] | None, st.session_state.get("raced_runs"))


def set_raced_runs(runs: tuple[Trace, Trace]) -> None:
    """Store the runs of a race, which the Compare page then shows first."""
    st.session_state["raced_runs"] = runs
    st.session_state[COMPARE_SOURCE] = "race"


def opened_folders() -> list[Path]:
    """Return the folders that this viewer has opened besides the listed ones; empty outside a session."""
    return list(st.session_state.get("opened_folders", [])) if _is_session() else []


def add_opened_folder(folder: Path) -> None:
    """Store a folder as opened."""
    st.session_state["opened_folders"] = list(dict.fromkeys([*opened_folders(), folder]))


def loading_job() -> Job | None:
    """Return this viewer's last job that loads a model, running or finished."""
    return cast(Job | None, st.session_state.get("loading_job"))


def set_loading_job(job: Job | None) -> None:
    """Store a job that loads a model."""
    st.session_state["loading_job"] = job


def language() -> str:
    """Return the viewer's language, such as `en`; English outside a session."""
    return str(st.session_state.get(LANGUAGE) or ENGLISH) if _is_session() else ENGLISH


def take_language(known: Container[str]) -> None:
    """Start a session with the link's language; an unknown language is ignored."""
    if LANGUAGE not in st.session_state:
        named = st.query_params.get(LANGUAGE, ENGLISH)
        st.session_state[LANGUAGE] = named if named in known else ENGLISH


def text_size() -> str:
    """Return the viewer's text size."""
    return str(st.session_state[TEXT_SIZE])


def palette() -> str:
    """Return the viewer's palette; the default outside a session."""
    return str(st.session_state.get(PALETTE, DEFAULT)) if _is_session() else DEFAULT


def take_look(sizes: Container[str]) -> None:
    """Start a session with the link's palette and text size; unknown values are ignored."""
    for key, known, usual in ((PALETTE, PALETTES, DEFAULT), (TEXT_SIZE, sizes, NORMAL_TEXT)):
        named = st.query_params.get(key, usual)
        st.session_state.setdefault(key, named if named in known else usual)


def keep_look() -> None:
    """Write language, palette and text size into the link unless they are the defaults.

    Every run of a page does this because the menu's addresses lack them.
    """
    for key, usual in ((LANGUAGE, ENGLISH), (PALETTE, DEFAULT), (TEXT_SIZE, NORMAL_TEXT)):
        chosen = st.session_state[key]
        if chosen == usual:
            st.query_params.pop(key, None)
        elif st.query_params.get(key) != chosen:
            st.query_params[key] = chosen


def set_language(name: str) -> None:
    """Set the viewer's language."""
    st.session_state[LANGUAGE] = name


def lesson_link() -> tuple[str, str]:
    """Return the link's lesson and step, else this viewer's last ones."""
    if "lesson" in st.query_params:
        return st.query_params["lesson"], st.query_params.get("step", "1")
    return cast(tuple[str, str], st.session_state.get("lesson_place", ("1", "1")))


def set_lesson_link(lesson: int, step: str) -> None:
    """Go to a step of a lesson, in the session and in the link."""
    st.session_state["lesson_place"] = (str(lesson), step)
    st.query_params["lesson"], st.query_params["step"] = str(lesson), step


def lesson_guess(lesson: str) -> Any:
    """Return this viewer's guess in a lesson: positions or a number; `None` before a guess."""
    return st.session_state.get("lesson_guesses", {}).get(lesson)


def set_lesson_guess(lesson: str, guess: Any) -> None:
    """Store a guess; `None` removes it."""
    st.session_state["lesson_guesses"] = st.session_state.get("lesson_guesses", {}) | {
        lesson: guess
    }


def lesson_answer(lesson: str) -> int | None:
    """Return this viewer's answer in a lesson, counted from 1; `None` before an answer."""
    return cast(int | None, st.session_state.get("lesson_answers", {}).get(lesson))


def set_lesson_answer(lesson: str, answer: int | None) -> None:
    """Store an answer."""
    st.session_state["lesson_answers"] = st.session_state.get("lesson_answers", {}) | {
        lesson: answer
    }


def bench_job() -> BenchJob | None:
    """Return this viewer's short benchmark, running or finished."""
    return cast(BenchJob | None, st.session_state.get("bench_job"))


def set_bench_job(job: BenchJob) -> None:
    """Store a new short benchmark."""
    st.session_state["bench_job"] = job


def _is_session() -> bool:
    return get_script_run_ctx(suppress_warning=True) is not None
