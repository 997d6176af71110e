"""Data of which a codec has computed what is not random, once, into a cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from pushforward.codecs import Codec
from pushforward.data.data import Arrays, Data
from pushforward.data.document import Document, Documents
from pushforward.files import made_once

SHARD = 500  # rows in a file


def prepared(data: Data, codec: Codec, cache: Path) -> Data:
    """The data as `codec.prepare` leaves them: in memory, and in files of `cache`, from which they are read again.

    Files are named by the weights of the codec and the rows that they hold, so a cache may serve many runs, also at
    once: what one process computes, the others wait for. Where the codec leaves data as they are, so does this.
    """
    from safetensors.torch import load_file, save_file

    if type(codec).prepare is Codec.prepare:
        return data
    if isinstance(data, Documents):
        return _prepared_documents(data, codec, cache)
    weights, parts, contexts = _digest(codec), [], []
    for rows in torch.arange(len(data)).split(SHARD):
        events, context = data.fetch(rows)
        contexts.append(context)
        name = hashlib.sha256(weights + events.numpy().tobytes()).hexdigest()[:32]

        def make(begun: Path, events: Tensor = events) -> None:
            save_file({"events": torch.cat([codec.prepare(part) for part in events.split(50)])}, begun)

        parts.append(load_file(made_once(cache / f"{name}.safetensors", make))["events"])
    return Arrays(torch.cat(parts), None if contexts[0] is None else torch.cat(contexts))


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


def _digest(codec: Codec) -> bytes:
    digest = hashlib.sha256(type(codec).__name__.encode())
    if isinstance(codec, nn.Module):
        for name, value in sorted(codec.state_dict().items()):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.digest()
