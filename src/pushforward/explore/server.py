"""The explorer as a web application, and its server on the loopback address."""

# no `from __future__ import annotations`: the framework needs annotations as objects, not strings

import asyncio
import json
import os
import secrets
import socket
import webbrowser
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from pushforward.explore import clips, texts
from pushforward.explore.edits import read_amounts
from pushforward.explore.guard import Guard
from pushforward.explore.images import MOST, Pictures
from pushforward.explore.opened import Opened, opened
from pushforward.explore.uploads import BYTES, read_upload
from pushforward.explore.vectors import FURTHEST, read_values
from pushforward.explore.worker import BusyError, SupersededError, Worker
from pushforward.optional import require
from pushforward.runs.folder import PRETRAINED
from pushforward.runs.null import check_null, check_sampling
from pushforward.sampling import Sampling

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
    from fastapi import FastAPI
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

    answer = _answering(shown, worker)
    for routes in (_of_trainings, _of_planes, _of_vectors, _of_images, _of_edits, _of_uploads, _of_others):
        made.include_router(routes(answer))
    made.include_router(_of_jobs(worker))
    made.mount("/static", StaticFiles(directory=STATIC))
    made.add_middleware(Guard, token=token)  # pyright: ignore[reportArgumentType]
    for error, status, text in (
        (ValueError, 422, ""),
        (OSError, 422, ""),  # weights that are not there yet
        (SupersededError, 409, "a later request took its place"),
        (BusyError, 503, "too many requests are waiting; try again"),
    ):
        made.add_exception_handler(error, _saying(status, text))
    return made


def _saying(status: int, text: str) -> Callable[..., Any]:
    """An answer to a request that raised an error: a text, or the error's own."""
    from fastapi.responses import JSONResponse

    return lambda _, error: JSONResponse({"detail": text or str(error)}, status)


def _answering(shown: dict[str, Opened], worker: Worker) -> Callable[..., Any]:
    """What answers requests about these runs."""
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

    return answer


def _of_jobs(worker: Worker) -> "APIRouter":
    """Requests about requests."""
    from fastapi import APIRouter
    from fastapi.responses import StreamingResponse

    routes = APIRouter(prefix="/api")

    async def told(page: str) -> AsyncIterator[str]:
        while jobs := [job._asdict() for job in worker.told(page)]:
            yield f"data: {json.dumps(jobs)}\n\n"
            await asyncio.sleep(EVERY)
        yield "data: []\n\n"

    @routes.get("/events")
    async def events(page: str) -> StreamingResponse:
        """The jobs of a page, as server-sent events, until there are none."""
        return StreamingResponse(told(page), media_type="text/event-stream")

    return routes


async def _left(request: "Request") -> None:
    """Wait until nobody waits for the answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _of_trainings(answer: Callable[..., Any]) -> "APIRouter":
    """Requests about trainings."""
    from fastapi import APIRouter, Request

    routes = APIRouter(prefix="/api/runs/{name}")

    @routes.get("/training")
    async def training(request: Request, name: str, seen: str = "") -> Any:
        return await answer(request, name, lambda run: run.training.so_far(seen))

    return routes


def _of_planes(answer: Callable[..., Any]) -> "APIRouter":
    """Requests about flows of two features."""
    from fastapi import APIRouter, Query, Request

    routes = APIRouter(prefix="/api/runs/{name}")

    @routes.get("/scene")
    async def scene(request: Request, name: str) -> Any:
        return await answer(request, name, lambda run: run.plane.scene())

    @routes.get("/density")
    async def density(request: Request, name: str, stage: int) -> Any:
        return await answer(request, name, lambda run: run.plane.density(stage))

    @routes.get("/point")
    async def point(
        request: Request,
        name: str,
        stage: int,
        x: float = Query(ge=-FURTHEST, le=FURTHEST, allow_inf_nan=False),
        y: float = Query(ge=-FURTHEST, le=FURTHEST, allow_inf_nan=False),
    ) -> Any:
        return await answer(request, name, lambda run: run.plane.point(stage, x, y))

    return routes


def _of_vectors(answer: Callable[..., Any]) -> "APIRouter":
    """Requests about flows of vectors."""
    from fastapi import APIRouter, Query, Request

    routes = APIRouter(prefix="/api/runs/{name}")

    @routes.get("/table")
    async def table(request: Request, name: str) -> Any:
        return await answer(request, name, lambda run: run.vectors.scene())

    @routes.get("/drawn")
    async def drawn(request: Request, name: str, c: str = "", seed: int = Query(0, ge=0, lt=2**31)) -> Any:
        given = read_values(c)
        return await answer(request, name, lambda run: run.vectors.drawn(given, seed))

    @routes.get("/row")
    async def row(request: Request, name: str, x: str, c: str = "") -> Any:
        values, given = read_values(x), read_values(c)
        return await answer(request, name, lambda run: run.vectors.row(values, given))

    return routes


def _sampling() -> Callable[..., Sampling]:
    """What reads a request's fields of sampling."""
    from fastapi import Query

    def drawing(
        label: int | None = None,
        guidance: float = Query(0, ge=0, le=10),
        temperature: float = Query(1, ge=0, le=2),
        seed: int = Query(0, ge=0, lt=2**31),
    ) -> Sampling:
        return Sampling(label=label, guidance=guidance, temperature=temperature, seed=seed)

    return drawing


def _of_images(answer: Callable[..., Any]) -> "APIRouter":
    """Requests about flows of images."""
    from fastapi import APIRouter, Depends, Query, Request

    routes = APIRouter(prefix="/api/runs/{name}")
    few, how = Query(20, ge=1, le=MOST), Depends(_sampling())

    async def of_pictures(request: Request, name: str, sampling: Sampling, function: Callable[[Pictures], Any]) -> Any:
        def checked(run: Opened) -> Any:
            check_sampling(run.run, run.recipe, sampling)
            return function(run.pictures)

        return await answer(request, name, checked)

    @routes.get("/gallery")
    async def gallery(
        request: Request,
        name: str,
        of: Literal["data", "samples"],
        start: int = Query(0, ge=0, lt=2**31),
        n: int = few,
        sampling: Sampling = how,
    ) -> Any:
        def listed(pictures: Pictures) -> Any:
            return pictures.data(start, n) if of == "data" else pictures.drawn(sampling, n)

        return await of_pictures(request, name, sampling, listed)

    @routes.get("/picked")
    async def picked(request: Request, name: str, picture: str, sampling: Sampling = how) -> Any:
        return await of_pictures(request, name, sampling, lambda pictures: pictures.picked(picture, sampling))

    @routes.get("/costs")
    async def costs(request: Request, name: str) -> Any:
        return await answer(request, name, lambda run: run.pictures.costs())

    @routes.get("/line")
    async def interpolated(request: Request, name: str, a: str, b: str, n: int = few, sampling: Sampling = how) -> Any:
        def line(run: Opened) -> list[str]:
            check_null(run.run, run.recipe, "a line of latents", "label")
            return run.pictures.line([a, b], sampling, max(2, n))

        return await answer(request, name, line)

    return routes


def _of_edits(answer: Callable[..., Any]) -> "APIRouter":
    """Requests for changed images."""
    from fastapi import APIRouter, Depends, Request

    routes, how = APIRouter(prefix="/api/runs/{name}"), Depends(_sampling())

    @routes.get("/attributes")
    async def attributes(request: Request, name: str) -> Any:
        return await answer(request, name, lambda run: run.edits.attributes())

    @routes.get("/edited")
    async def edited(request: Request, name: str, picture: str, amounts: str = "", sampling: Sampling = how) -> Any:
        given = read_amounts(amounts)
        return await answer(request, name, lambda run: run.edits.edited(picture, sampling, given))

    @routes.get("/filled")
    async def filled(
        request: Request,
        name: str,
        picture: str,
        mask: str,
        anew: bool = False,
        sampling: Sampling = how,
    ) -> Any:
        return await answer(request, name, lambda run: run.edits.filled(picture, sampling, mask, anew))

    return routes


def _of_others(answer: Callable[..., Any]) -> "APIRouter":
    """Requests about flows of clips and of texts."""
    from fastapi import APIRouter, Depends, Query, Request

    routes, how = APIRouter(prefix="/api/runs/{name}"), Depends(_sampling())

    @routes.get("/frame")
    async def frame(
        request: Request,
        name: str,
        prompt: str = Query("", max_length=300),
        frames: int = Query(8, ge=1, le=clips.MOST),
        k: int = Query(0, ge=0),
        sampling: Sampling = how,
    ) -> Any:
        def drawn(run: Opened) -> Any:
            check_sampling(run.run, run.recipe, sampling)
            return run.clips.frame(prompt, sampling, frames, min(k, frames - 1))

        return await answer(request, name, drawn)

    @routes.get("/text")
    async def text(
        request: Request,
        name: str,
        prompt: str = Query("", max_length=2000),
        length: int | None = Query(None, ge=1, le=texts.MOST),
        sampling: Sampling = how,
    ) -> Any:
        given = replace(sampling, length=length)
        return await answer(request, name, lambda run: run.texts.drawn(prompt, given))

    return routes


def _of_uploads(answer: Callable[..., Any]) -> "APIRouter":
    """Uploads of images."""
    from fastapi import APIRouter, HTTPException, Request

    routes = APIRouter(prefix="/api/runs/{name}")

    @routes.post("/images")
    async def upload(request: Request, name: str) -> Any:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > BYTES:
                raise HTTPException(413, f"a picture may have {BYTES:,} bytes.")

        def kept(run: Opened) -> dict[str, str]:
            channels, height, width = run.pictures.flow.event
            read = read_upload(bytes(body), (channels, height, width), run.recipe.codec.levels)
            return {"name": run.pictures.keep(read)}

        return await answer(request, name, kept)

    return routes


def serve(runs: Sequence[Run] = SHIPPED, port: int = 8642, browser: bool = True) -> None:
    """Serve the explorer on the loopback address until it is interrupted. Raises OSError where the port is taken.

    It computes on half of torch's threads: the browser is beside it, and threads that wait for each other are slow.
    """
    uvicorn, made = require("uvicorn", "explore"), app(runs)
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    try:
        listening = socket.create_server((HERE, port))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise OSError(f"port {port} cannot be used: {why}. Give another; --port 0 finds a free one.") from None
    address = f"http://{HERE}:{listening.getsockname()[1]}"
    print(f"exploring at {address}; Ctrl-C ends it", flush=True)
    if browser:
        webbrowser.open(address)
    uvicorn.Server(uvicorn.Config(made, log_level="warning", timeout_graceful_shutdown=1)).run(sockets=[listening])
