"""The event route: a job's events as server-sent events, batched, resumable and read-only.

`GET /mor/stream/{job}` sends new events every `BATCH_S`, and half as often while a batch has `FAST` events or more:
then the browser takes longer to draw tokens than the model to generate them, perhaps on the same machine. The id of a
message is the index of the next event, so a browser that reconnects continues there (`Last-Event-ID`, or `?from=`).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.runs import jobs
from mor_core.server.jobs import Job

STREAM_PATH = "/mor/stream/"
BATCH_S = 0.05
FAST = 4  # events per batch from which batches are sent half as often
HEARTBEAT_S = 5.0  # interval of comments, which reveal a closed connection


def stream_url(job: Job) -> str:
    """Return the path at which a browser reads a job's events."""
    return STREAM_PATH + job.id


async def stream_job(request: Request) -> Response:
    """Respond with the job's events; 404 if there is no such job, 403 for requests from another site."""
    if not _is_same_origin(request):
        return JSONResponse(
            {"error": "events are read from the app's own pages only"}, status_code=403
        )
    job = jobs.job_manager().find(request.path_params["job"])
    if job is None:
        return JSONResponse({"error": "no such run; it may have been forgotten"}, status_code=404)
    start = request.headers.get("last-event-id") or request.query_params.get("from", "0")
    if not (start.isascii() and start.isdigit()):
        return JSONResponse(
            {"error": f"from must be a whole number, got {start[:20]!r}"}, status_code=400
        )
    return StreamingResponse(
        _messages(job, int(start)),
        media_type="text/event-stream",
        headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            "X-Content-Type-Options": "nosniff",
        },
    )


async def _messages(job: Job, start: int) -> AsyncIterator[str]:
    last_status: dict[str, object] = {}
    silent_s = 0.0
    pause_s = BATCH_S
    while True:
        job.touch()
        is_finished = job.is_finished
        batch = jobs.batch(job, start)
        if batch["events"] or batch["status"] != last_status:
            pause_s = 2 * BATCH_S if len(batch["events"]) >= FAST else BATCH_S
            start += len(batch["events"])
            last_status = batch["status"]
            silent_s = 0.0
            yield f"id: {start}\ndata: {json.dumps(batch, separators=(',', ':'), allow_nan=False)}\n\n"
        if is_finished:
            return
        if silent_s >= HEARTBEAT_S:
            silent_s = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(pause_s)
        silent_s += pause_s


def _is_same_origin(request: Request) -> bool:
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


STREAM_ROUTE = Route(STREAM_PATH + "{job}", stream_job, methods=["GET"])
