"""The Checkpoints page: memory, device and dtype, loading and unloading, and opening folders that are not listed."""

import time

import streamlit as st

from app.frame import messages, page_parts
from app.runs import jobs, resources, session
from app.runs.model_cache import Held, loaded_models
from app.style.theme import format_bytes
from app.text.words import say
from mor_core.checkpoints.checkpoint import CheckpointError, CheckpointInfo
from mor_core.checkpoints.checkpoint_roots import allowed_folder, checkpoint_roots
from mor_core.checkpoints.placement import (
    DTYPE_BYTES,
    gpu_memory,
    known_devices,
    machine_bytes,
    process_bytes,
)
from mor_core.server.jobs import Updates

AUTO = "auto"
POLL_S = 0.5


def memory() -> None:
    """Show used and free memory of this machine and of every GPU, and the number of loaded models."""
    gpus = gpu_memory()
    free, total = machine_bytes()
    columns = st.columns(3 + len(gpus))
    columns[0].metric(
        say("checkpoints.process"),
        format_bytes(process_bytes()),
        help=say("checkpoints.process_help"),
    )
    columns[1].metric(say("checkpoints.free"), _of(free, total))
    columns[2].metric(
        say("checkpoints.in_memory"),
        f"{len(loaded_models().held())} / {loaded_models().limit}",
        help=say("checkpoints.in_memory_help", limit=loaded_models().limit),
    )
    for column, gpu in zip(columns[3:], gpus, strict=True):
        column.metric(
            say("checkpoints.gpu", device=gpu.name),
            _of(gpu.free, gpu.total),
            help=say("checkpoints.gpu_help", held=format_bytes(gpu.held)),
        )


def choose_placement() -> tuple[str, str]:
    """Let the viewer choose device and dtype; return them."""
    left, right, note = st.columns([1, 1, 2.4], vertical_alignment="bottom")
    device = left.selectbox(
        say("checkpoints.device"),
        [AUTO, *known_devices()],
        format_func=_named,
        key="place_device",
        help=say("checkpoints.device_help"),
        persist_state="session",
    )
    dtype = right.selectbox(
        say("checkpoints.dtype"),
        [AUTO, *DTYPE_BYTES],
        format_func=_named,
        key="place_dtype",
        help=say("checkpoints.dtype_help"),
        persist_state="session",
    )
    note.caption(say("checkpoints.shared"))
    return str(device), str(dtype)


def progress() -> None:
    """Show the progress of loading a model, or why the last loading failed."""
    job = session.loading_job()
    if job is None:
        return
    if job.error is not None:
        messages.show_error(jobs.failure(job))
    if not job.is_finished:
        _watch()


def models(placement: tuple[str, str]) -> None:
    """List the checkpoints, each with its model, its place in memory, and buttons to load and unload it."""
    checkpoints = resources.list_checkpoints()
    held = {item.name: item for item in loaded_models().held()}
    for info in checkpoints:
        key = resources.model_key(info)
        _row(info, next((item for name, item in held.items() if name == key), None), placement)
    if not checkpoints:
        messages.show_info(say("frame.no_checkpoints"))
    for problem in resources.checkpoint_problems():
        messages.show_warning(say("frame.left_out", problem=problem))


def open_folder() -> None:
    """Draw the input for a folder under a checkpoint root; problems are shown below it."""
    st.subheader(say("checkpoints.open_heading"))
    roots = ", ".join(f"`{root.resolve()}`" for root in checkpoint_roots())
    st.caption(say("checkpoints.open_note", roots=roots))
    with st.form("open_folder", border=False):
        left, right = st.columns([5, 1], vertical_alignment="bottom")
        text = left.text_input(
            say("checkpoints.folder"),
            key="open_folder_path",
            placeholder=say("checkpoints.folder_placeholder"),
        )
        pressed = right.form_submit_button(say("checkpoints.open"), width="stretch")
    if pressed:
        _open(text)


def _open(text: str) -> None:
    try:
        folder = allowed_folder(text)
        info = resources.describe_folder(folder)
    except CheckpointError as error:
        messages.show_problem(error)
        return
    if folder in {listed.path.resolve() for listed in resources.list_checkpoints()}:
        messages.show_info(say("checkpoints.already", name=info.name))
        return
    session.add_opened_folder(folder)
    st.toast(messages.as_text(say("checkpoints.opened", name=info.name)))
    st.rerun()


def _row(info: CheckpointInfo, held: Held | None, placement: tuple[str, str]) -> None:
    config = info.config
    shape = say(
        "checkpoints.shape",
        recursions=config.get("num_recursions", 1),
        router=page_parts.router_name(config),
        cache=page_parts.cache_name(config),
        size=format_bytes(info.num_bytes),
        sha=info.sha256[:8],
    )
    status = say("checkpoints.not_loaded")
    if held is not None:
        status = say(
            "checkpoints.loaded",
            device=held.placement.device,
            dtype=held.placement.dtype,
            size=format_bytes(held.num_bytes),
        )
    count = len(jobs.job_manager().jobs_of(resources.model_key(info)))
    if count:
        status += " · " + say("checkpoints.runs", count=count)
    with st.container(border=True):
        words, first, second = st.columns([5, 1, 1], vertical_alignment="center")
        mark = ":material/memory:" if held else ":material/memory_alt:"
        words.markdown(f"{mark} **{messages.as_text(info.name)}** · {messages.as_text(status)}")
        words.caption(messages.as_text(shape))
        first.button(
            say("checkpoints.load"),
            key=f"load_{info.path}",
            width="stretch",
            on_click=_load,
            args=(info, *placement),
        )
        second.button(
            say("checkpoints.unload"),
            key=f"unload_{info.path}",
            width="stretch",
            disabled=held is None,
            help=say("checkpoints.unload_help"),
            on_click=resources.unload,
            args=(info,),
        )


def _load(info: CheckpointInfo, device: str, dtype: str) -> None:
    def work(_: object) -> Updates:
        resources.load_on(info, device, dtype)
        return iter(())

    job = jobs.submit(resources.model_key(info), work, f"load {info.path}")
    session.set_loading_job(job)


@st.fragment(run_every=POLL_S)
def _watch() -> None:
    """Poll until the model is loaded, then rerun the page."""
    job = session.loading_job()
    if job is None or job.is_finished:
        st.rerun()
    job.touch()
    ahead = jobs.job_manager().num_ahead(job)
    seconds = f"{time.monotonic() - job.created:.0f}"
    words = say("checkpoints.loading", seconds=seconds)
    st.status(say("checkpoints.waits", ahead=ahead) if ahead else words, state="running")


def _named(value: str) -> str:
    return say("checkpoints.auto") if value == AUTO else value


def _of(free: int, total: int) -> str:
    return f"{format_bytes(free)} / {format_bytes(total)}"
