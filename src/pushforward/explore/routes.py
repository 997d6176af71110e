"""The requests about a run, and what of the run answers each."""

# no `from __future__ import annotations`: the framework needs annotations as objects, not strings

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

from pushforward.explore import clips, texts
from pushforward.explore.edits import read_amounts
from pushforward.explore.gallery import MOST, Gallery
from pushforward.explore.opened import Opened
from pushforward.explore.uploads import BYTES, read_upload
from pushforward.explore.vectors import FURTHEST, read_values
from pushforward.runs.null import check_null
from pushforward.sampling import Sampling

if TYPE_CHECKING:
    from fastapi import APIRouter

Ask = Callable[[Callable[[Opened], Any]], Awaitable[Any]]  # answers a request by a function of the run that it names


def of_trainings(routes: "APIRouter", asked: Any) -> None:
    """Requests about trainings."""

    @routes.get("/training")
    async def training(seen: str = "", ask: Ask = asked) -> Any:
        return await ask(lambda run: run.training.so_far(seen))


def of_planes(routes: "APIRouter", asked: Any) -> None:
    """Requests about flows of two features."""
    from fastapi import Query

    bounded = {"ge": -FURTHEST, "le": FURTHEST, "allow_inf_nan": False}

    @routes.get("/scene")
    async def scene(ask: Ask = asked) -> Any:
        return await ask(lambda run: run.plane.scene())

    @routes.get("/density")
    async def density(stage: int, ask: Ask = asked) -> Any:
        return await ask(lambda run: run.plane.density(stage))

    @routes.get("/point")
    async def point(stage: int, x: float = Query(**bounded), y: float = Query(**bounded), ask: Ask = asked) -> Any:
        return await ask(lambda run: run.plane.point(stage, x, y))


def of_vectors(routes: "APIRouter", asked: Any) -> None:
    """Requests about flows of vectors."""
    from fastapi import Query

    @routes.get("/table")
    async def table(ask: Ask = asked) -> Any:
        return await ask(lambda run: run.vectors.scene())

    @routes.get("/drawn")
    async def drawn(c: str = "", seed: int = Query(0, ge=0, lt=2**31), ask: Ask = asked) -> Any:
        given = read_values(c)
        return await ask(lambda run: run.vectors.drawn(given, seed))

    @routes.get("/row")
    async def row(x: str, c: str = "", ask: Ask = asked) -> Any:
        values, given = read_values(x), read_values(c)
        return await ask(lambda run: run.vectors.row(values, given))


def _sampling() -> Any:
    """What reads a request's fields of sampling."""
    from fastapi import Depends, Query

    async def sampling(
        label: int | None = None,
        prompt: str = Query("", max_length=2000),
        length: int | None = Query(None, ge=1, le=texts.MOST),
        guidance: float = Query(0, ge=0, le=10),
        temperature: float = Query(1, ge=0, le=2),
        seed: int = Query(0, ge=0, lt=2**31),
    ) -> Sampling:
        given = {"label": label, "prompt": (prompt,), "length": length}
        return Sampling(**given, guidance=guidance, temperature=temperature, seed=seed)

    return Depends(sampling)


def of_galleries(routes: "APIRouter", asked: Any) -> None:
    """Requests about images to pick from, and uploads."""
    from fastapi import HTTPException, Query, Request

    @routes.get("/gallery")
    async def gallery(
        of: Literal["data", "samples"],
        start: int = Query(0, ge=0, lt=2**31),
        n: int = Query(20, ge=1, le=MOST),
        sampling: Sampling = _sampling(),
        ask: Ask = asked,
    ) -> Any:
        def listed(gallery: Gallery) -> Any:
            return gallery.data(start, n) if of == "data" else gallery.drawn(sampling, n)

        return await ask(lambda run: listed(run.checked(sampling).gallery))

    @routes.post("/images")
    async def upload(request: Request, ask: Ask = asked) -> Any:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > BYTES:
                raise HTTPException(413, f"a picture has {BYTES:,} bytes at most.")

        def kept(run: Opened) -> dict[str, str]:
            channels, height, width = run.recipe.codec.data_shape(tuple(run.built.event))
            read = read_upload(bytes(body), (channels, height, width), run.gallery.coded.codec.levels)
            return {"name": run.gallery.keep(read)}

        return await ask(kept)


def of_images(routes: "APIRouter", asked: Any) -> None:
    """Requests about flows of images."""
    from fastapi import Query

    @routes.get("/picked")
    async def picked(picture: str, sampling: Sampling = _sampling(), ask: Ask = asked) -> Any:
        return await ask(lambda run: run.checked(sampling).pictures.picked(picture, sampling))

    @routes.get("/costs")
    async def costs(ask: Ask = asked) -> Any:
        return await ask(lambda run: run.pictures.costs())

    @routes.get("/line")
    async def interpolated(
        a: str, b: str, n: int = Query(20, ge=2, le=MOST), sampling: Sampling = _sampling(), ask: Ask = asked
    ) -> Any:
        def line(run: Opened) -> list[str]:
            check_null(run.run, run.recipe, "a line of latents", "label")
            return run.pictures.line([a, b], sampling, n)

        return await ask(line)


def of_edits(routes: "APIRouter", asked: Any) -> None:
    """Requests for changed images."""

    @routes.get("/attributes")
    async def attributes(ask: Ask = asked) -> Any:
        return await ask(lambda run: run.edits.attributes())

    @routes.get("/edited")
    async def edited(picture: str, amounts: str = "", sampling: Sampling = _sampling(), ask: Ask = asked) -> Any:
        given = read_amounts(amounts)
        return await ask(lambda run: run.edits.edited(picture, sampling, given))

    @routes.get("/filled")
    async def filled(
        picture: str, mask: str, anew: bool = False, sampling: Sampling = _sampling(), ask: Ask = asked
    ) -> Any:
        return await ask(lambda run: run.edits.filled(picture, sampling, mask, anew))


def of_sequences(routes: "APIRouter", asked: Any) -> None:
    """Requests about flows of clips and of texts."""
    from fastapi import Query

    @routes.get("/frame")
    async def frame(
        frames: int = Query(8, ge=1, le=clips.MOST),
        k: int = Query(0, ge=0),
        sampling: Sampling = _sampling(),
        ask: Ask = asked,
    ) -> Any:
        return await ask(lambda run: run.checked(sampling).clips.frame(sampling, frames, k))

    @routes.get("/text")
    async def text(sampling: Sampling = _sampling(), ask: Ask = asked) -> Any:
        return await ask(lambda run: run.texts.drawn(sampling))


def of_documents(routes: "APIRouter", asked: Any) -> None:
    """Requests about flows of images and their captions."""
    from fastapi import Query

    @routes.get("/seen")
    async def seen(picture: str, sampling: Sampling = _sampling(), ask: Ask = asked) -> Any:
        return await ask(lambda run: run.checked(sampling).documents.seen(picture, sampling))

    @routes.get("/written")
    async def written(picture: str, sampling: Sampling = _sampling(), ask: Ask = asked) -> Any:
        return await ask(lambda run: run.checked(sampling).documents.written(picture, sampling))

    @routes.get("/scored")
    async def scored(
        picture: str,
        caption: str = Query(max_length=300),
        sampling: Sampling = _sampling(),
        ask: Ask = asked,
    ) -> Any:
        return await ask(lambda run: run.checked(sampling).documents.scored(picture, sampling, caption))


ALL = (of_trainings, of_planes, of_vectors, of_galleries, of_images, of_edits, of_sequences, of_documents)
