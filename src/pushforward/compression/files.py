"""The commands `pushforward compress` and `pushforward decompress`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.arrays import as_tensor
from pushforward.compression import coding
from pushforward.data import Images, TableSource, TextSource
from pushforward.data.data import naming
from pushforward.data.tables import check_writable, read_npy, write_table
from pushforward.data.tokenizers import Tokenizer
from pushforward.files import replacing
from pushforward.runs.data import images_of, recipe_of


def compress(path: Path, run: Path | None = None, out: Path = Path("compressed.pf"), verify: bool = True) -> str:
    """Compress images, a table or a text without loss, by a run: `pushforward compress PATH --run DIR --out FILE`.

    The same run decompresses it, on a machine with the same arithmetic. The run is unconditional. On images its codec
    is uniform dequantization; on a table its columns are real, with at most 9 decimals; on text its model is
    `AutoregressiveLM` or `TarFlowLM`.

    Args:
        path: A .npy file of integers (rows, channels, height, width), a set or a folder of images; a table; or a text
            in UTF-8, of characters that the run has tokens for.
        run: The run folder, which must be given.
        out: The compressed file.
        verify: Decompress the file and compare.
    """
    run = _given(run)
    data = _read(path, run)
    file = coding.compress(run, data, verify=verify)
    with replacing(out) as begun:
        begun.write_bytes(file)
    bits = 8 * len(file) / max(data.numel(), 1)
    return f"{_counted(data)} in {out}: {len(file)} bytes, {bits:.3f} bits for each of {data.numel()} values"


def decompress(path: Path, run: Path | None = None, out: Path | None = None) -> str:
    """Decompress a file of `pushforward compress`, by the same run: `pushforward decompress FILE --run DIR --out PATH`.

    A foreign, damaged or truncated file, another run, and arithmetic that differs are refused, each by name.

    Args:
        path: The compressed file.
        run: The run folder, which must be given.
        out: A .npy file for images; a .csv, .tsv, .parquet or .npz file for a table; any file for a text. By default
            decompressed.npy, .csv or .txt.
    """
    run = _given(run)
    source: Any = recipe_of(run).data
    is_table, is_text = isinstance(source, TableSource), isinstance(source, TextSource)
    out = out or Path(f"decompressed.{'csv' if is_table else 'txt' if is_text else 'npy'}")
    if is_table:
        check_writable(out)
    elif not is_text and out.suffix != ".npy":
        raise ValueError(f"images are written as an array, to a .npy file; got {out}.")
    data = coding.decompress(run, path.read_bytes())
    if is_table:
        write_table(dict(zip(source.columns, data.numpy().T, strict=True)), out)
    elif is_text:
        with replacing(out) as begun:
            begun.write_bytes(source.tokenizer.decode(data.tolist()).encode())
    else:
        with replacing(out) as begun, begun.open("wb") as file:
            np.save(file, data.numpy())
    return f"{_counted(data)} in {out}"


def _counted(data: Tensor) -> str:
    return f"{len(data)} {'tokens' if data.dim() == 1 else 'rows'}"


def _given(run: Path | None) -> Path:
    if run is None:
        raise ValueError("give the run folder whose flow codes: --run DIR.")
    return run


def _read(path: Path, run: Path) -> Tensor:
    source: Any = recipe_of(run).data
    if isinstance(source, TableSource):
        return torch.from_numpy(source.at(str(path)).table().take(list(source.columns)))
    if isinstance(source, TextSource):
        return _tokens(path, source.tokenizer)
    if path.suffix == ".npy":
        with naming(path):
            return as_tensor(read_npy(path))
    images: Images = images_of(run, str(path))
    return images.fetch(range(len(images)))[0]


def _tokens(path: Path, tokenizer: Tokenizer) -> Tensor:
    """The tokens of a text (n,). Raises ValueError where they are not those of all of its bytes."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text in UTF-8: {error}") from None
    tokens = tokenizer.encode(text)
    if tokenizer.decode(tokens.tolist()) != text:
        raise ValueError(f"the tokens of this run do not give back all characters of {path}.")
    return torch.from_numpy(tokens)
