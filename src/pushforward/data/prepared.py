"""What frozen networks compute of data, once, into a cache."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from numbers import Number
from pathlib import Path
from types import BuiltinFunctionType, FunctionType

import torch
from torch import Tensor, nn

from pushforward.codecs import Codec
from pushforward.data.data import Arrays, Data, digest, named
from pushforward.data.document import Document, Documents
from pushforward.files import made_once

SHARD, BATCH = 500, 50  # rows in a file, and those that are computed at once: fewer where they are large
SHARD_BYTES, BATCH_BYTES = 2**28, 2**25
KEPT_BYTES = 2**33  # of data, with their context, before they are prepared


def prepared(data: Data, codec: Codec, cache: Path) -> Data:
    """The data as `codec.prepare` leaves them: in memory, and in files of `cache`, from which they are read again.

    Where the codec leaves data as they are, so does this. Data of more than 8 GB are left too: the codec prepares them
    when it encodes them, in each step.
    """
    if type(codec).prepare is Codec.prepare:
        return data
    if isinstance(data, Documents):
        return _prepared_documents(data, codec, cache)
    first, context = data.fetch([0])
    if len(data) * (first.nbytes + sum(values.nbytes for _, values in named(context))) > KEPT_BYTES:
        return data
    contexts, size = [], first.nbytes
    shard, batch = (max(1, min(n, most // size)) for n, most in ((SHARD, SHARD_BYTES), (BATCH, BATCH_BYTES)))

    def parts() -> Iterator[Tensor]:
        for rows in torch.arange(len(data)).split(shard):
            events, context = data.fetch(rows)
            contexts.append(context)
            yield events

    def compute(events: Tensor) -> Tensor:
        return torch.cat([codec.prepare(part) for part in events.split(batch)])

    made = computed_once(parts(), compute, codec.prepares_by(), cache)
    if isinstance(context, Mapping):
        return Arrays(made, {name: torch.cat([part[name] for part in contexts]) for name in context}, data.weights)
    return Arrays(made, None if context is None else torch.cat(contexts), data.weights)


def computed_once(
    parts: Iterable[Tensor], compute: Callable[[Tensor], Tensor], by: tuple[object, ...], cache: Path
) -> Tensor:
    """What `compute` makes of the rows of each part: in memory, and in files of `cache`.

    Files are named by the rows, and by the networks and values `by` which it is computed. So a cache may serve many
    runs, also at once: what one process computes, the others wait for.
    """
    from safetensors.torch import load_file, save_file

    described, made = _described(by), []
    for part in parts:
        name = digest([described, part])[:32]

        def make(begun: Path, part: Tensor = part) -> None:
            save_file({"events": compute(part).cpu().contiguous()}, begun)

        made.append(load_file(made_once(cache / f"{name}.safetensors", make))["events"])
    return torch.cat(made)


def _prepared_documents(data: Documents, codec: Codec, cache: Path) -> Documents:
    """The documents with prepared images. Images that are in several documents are prepared once."""
    images = {id(image): image for document in data.documents for image in document.images}
    if not images:
        return data
    latents = prepared(Arrays(torch.stack([*images.values()])), codec, cache).fetch(range(len(images)))[0]
    made = dict(zip(images, latents, strict=True))
    return Documents(
        [
            Document([made[id(part)] if part.dim() == 3 else part for part in document.parts], given=document.given)
            for document in data.documents
        ]
    )


def _described(value: object) -> object:
    """What a result depends on, as a value that prints alike where it is the same: of networks, codecs and dataclasses
    their class and their attributes, weights included and private names left out; of other objects the class alone."""
    if value is None or isinstance(value, str | Number | torch.dtype):
        return value
    if isinstance(value, Tensor):
        return digest([value])
    if isinstance(value, tuple | list):
        return [*map(_described, value)]
    if isinstance(value, Mapping):
        return {str(key): _described(each) for key, each in value.items()}
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return value.__module__, value.__qualname__
    held = {}
    if isinstance(value, nn.Module):
        held = {**value._parameters, **value._buffers, **value._modules}
    if isinstance(value, nn.Module | Codec) or is_dataclass(value):
        held |= {name: each for name, each in vars(value).items() if name[0] != "_" and name != "training"}
    return type(value).__module__, type(value).__qualname__, _described(held)
