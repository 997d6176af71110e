"""The explorer as a web application, and its server on the loopback address."""

# no `from __future__ import annotations`: the framework needs annotations as objects, not strings

import asyncio
import json
import os
import secrets
import socket
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pushforward.explore import routes
from pushforward.explore.guard import Guard
from pushforward.explore.opened import Opened, opened
from pushforward.explore.worker import BusyError, SupersededError, Worker
from pushforward.kernels import build as kernels
from pushforward.optional import require
from pushforward.runs.folder import PRETRAINED

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI, Request

Run = str | PathLike[str]
STATIC = Path(__file__).parent / "static"
SHIPPED = tuple(PRETRAINED + name for name in ("moons", "pinwheel", "digits", "fashion", "emoji"))
HERE = "127.0.0.1"
EVERY = 0.25  # seconds between two events


def app(runs: Sequence[Run] = SHIPPED) -> "FastAPI":
    """The page and its API, for some runs: folders, or "pretrained:NAME".

    A request names a run by a short name of this list, and never a path. Raises ValueError or FileNotFoundError where
    a run is none.
    """
    require("fastapi", "explore")
    from fastapi import APIRouter, Depends, FastAPI
    from fastapi.responses import HTMLResponse
    from fastapi.staticfiles import StaticFiles

    shown, worker, token = opened(runs or SHIPPED), Worker(), secrets.token_urlsafe(32)
    made = FastAPI(title="Pushforward", docs_url=None, redoc_url=None, openapi_url=None)
    page = (STATIC / "index.html").read_text(encoding="utf-8").replace("{token}", token)

    @made.get("/", response_class=HTMLResponse)
    def index() -> str:
        return page

    @made.get("/api/runs")
    def listed() -> list[dict[str, Any]]:
        shown.update({name: Opened(run.run, name) for name, run in shown.items() if run.changed})
        return [run.described() for run in shown.values()]

    about, asked = APIRouter(prefix="/api/runs/{name}"), Depends(_asking(shown, worker))
    for add in routes.ALL:
        add(about, asked)
    made.include_router(about)
    made.include_router(_of_jobs(worker))
    made.mount("/static", StaticFiles(directory=STATIC))
    made.add_middleware(Guard, token=token)  # pyright: ignore[reportArgumentType]
    for error, status, text in (
        (ValueError, 422, ""),
        (OSError, 422, ""),  # weights that are not there yet
        (SupersededError, 409, "a later request took its place"),
        (BusyError, 503, "too many requests are waiting; try again"),
        (Exception, 500, "the server failed; its terminal says where"),
    ):
        made.add_exception_handler(error, _saying(status, text))
    return made


def _saying(status: int, text: str) -> Callable[..., Any]:
    """An answer to a request that raised an error: a text, or the error's own."""
    from fastapi.responses import JSONResponse

    return lambda _, error: JSONResponse({"detail": text or str(error)}, status)


def _asking(shown: dict[str, Opened], worker: Worker) -> Callable[..., Awaitable[routes.Ask]]:
    """A dependency of requests about one of these runs: the function that answers them."""
    from fastapi import HTTPException, Request
    from fastapi.responses import Response
    from pydantic_core import to_json

    async def answer(request: Request, name: str, function: Callable[[Opened], Any]) -> Response:
        """What a function says of a run, computed by the worker; "Infinity", "-Infinity" and "NaN" are strings."""
        if name not in shown:
            raise HTTPException(404, f'there is no run "{name[:40]}" here.')
        page, channel = (request.headers.get(of, "")[:80] for of in ("x-page", "x-channel"))
        key = channel and f"{page} {channel}"
        job = asyncio.create_task(worker.run(lambda: function(shown[name]), key, page=page))
        leaving = asyncio.create_task(_left(request))
        try:
            await asyncio.wait((job, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                raise SupersededError
            found = to_json(job.result(), inf_nan_mode="strings")  # JSON has no infinity
        finally:
            job.cancel()
            leaving.cancel()
        return Response(found, media_type="application/json")

    async def asked(request: Request, name: str) -> routes.Ask:  # a plain function would be called in a thread
        return partial(answer, request, name)

    return asked


def _of_jobs(worker: Worker) -> "APIRouter":
    """Requests about the jobs of a page."""
    from fastapi import APIRouter
    from fastapi.responses import StreamingResponse

    of_jobs = APIRouter(prefix="/api")

    async def told(page: str) -> AsyncIterator[str]:
        while jobs := [job._asdict() for job in worker.status(page)]:
            yield f"data: {json.dumps(jobs)}\n\n"
            await asyncio.sleep(EVERY)
        yield "data: []\n\n"

    @of_jobs.get("/events")
    async def events(page: str) -> StreamingResponse:
        """The jobs of a page, as server-sent events, until there are none."""
        return StreamingResponse(told(page), media_type="text/event-stream")

    return of_jobs


async def _left(request: "Request") -> None:
    """Wait until the client disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def serve(runs: Sequence[Run] = SHIPPED, port: int = 8642, browser: bool = True) -> None:
    """Serve the explorer on the loopback address until it is interrupted. Raises OSError where the port is taken.

    Kernels are compiled before, so that no request waits for a compiler. It computes on half of torch's threads: the
    browser is beside it, and threads that wait for each other are slow.
    """
    uvicorn, made = require("uvicorn", "explore"), app(runs)
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    try:
        listening = socket.create_server((HERE, port))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise OSError(f"port {port} cannot be used: {why}. Give another; --port 0 finds a free one.") from None
    if kernels.enabled:
        kernels.build()
    address = f"http://{HERE}:{listening.getsockname()[1]}"
    print(f"exploring at {address}; Ctrl-C ends it", flush=True)
    if browser:
        webbrowser.open(address)
    uvicorn.Server(uvicorn.Config(made, log_level="warning", timeout_graceful_shutdown=1)).run(sockets=[listening])
