r"""The file: a mark, a header, the stack, and a checksum of all of it.

"PFLOSSLESS\n"    length of the header, 4 bytes    header, JSON, deflated    stack, 4 bytes a word    SHA-256
"""

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass

import numpy as np

MARK, VERSION, CHECK = b"PFLOSSLESS\n", 3, 32


@dataclass(frozen=True)
class Header:
    """What the decoder must know."""

    version: int
    torch: str  # the version by which it was encoded
    model: str  # digests: of the flow's description,
    weights: str  # of its weights,
    data: str  # and of the data
    dtype: str
    shape: list[int]
    decimals: list[int]  # of each column of a table
    bits: int  # events are integers times 2^−bits
    sigma: float  # of the noise of a step, in these units
    batches: list[int]  # rows
    initial: int  # words of random bits at the bottom of the stack


def packed(header: Header, words: np.ndarray) -> bytes:
    text = zlib.compress(json.dumps(asdict(header), separators=(",", ":")).encode(), 9)
    body = MARK + len(text).to_bytes(4, "little") + text + words.astype("<u4").tobytes()
    return body + hashlib.sha256(body).digest()


def unpacked(file: bytes) -> tuple[Header, np.ndarray]:
    """Header and stack. Raises ValueError, saying which, for a foreign, damaged or truncated file."""
    if not file.startswith(MARK):
        raise ValueError("this is not a file of `pushforward compress`: its first bytes are others.")
    body, check = file[:-CHECK], file[-CHECK:]
    if hashlib.sha256(body).digest() != check:
        raise ValueError("this file is damaged or truncated: its checksum does not fit.")
    start = len(MARK) + 4
    end = start + int.from_bytes(body[len(MARK) : start], "little")
    fields = json.loads(zlib.decompress(body[start:end]))
    if fields.get("version") != VERSION:
        raise ValueError(f"this file has version {fields.get('version')}; this pushforward reads version {VERSION}.")
    return Header(**fields), np.frombuffer(body[end:], "<u4").astype(np.uint32)


def digest(*parts: bytes) -> str:
    """The first 128 bits of a SHA-256, in hexadecimals."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:32]
