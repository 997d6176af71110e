"""Files of Shakespeare's held-out tenth: by two small models, and by xz, zstd and bzip2. Bytes, all counted.

    PUSHFORWARD_DATA=DIR OMP_NUM_THREADS=1 python -m benchmarks.lossless [folder of runs]

The models, a language model and a TarFlowLM, have two layers of width 64. They are trained first where they are
missing, and all takes some minutes of one core. A file does not hold the model.
"""

from __future__ import annotations

import bz2
import lzma
import math
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

import pushforward as pf
from benchmarks.language import recipe
from pushforward.compression import compress, decompress
from pushforward.data import TextSource
from pushforward.models import AutoregressiveLM


def small() -> pf.Recipe:
    large = recipe("shakespeare", "baseline")
    model = AutoregressiveLM(tokens=128, width=64, vocabulary=65, depth=2)
    return replace(large, model=model, train=replace(large.train, lr=4e-3))


def coded(run: Path, recipe: pf.Recipe, tokens: torch.Tensor) -> int:
    """The bytes of the file, by a model that is trained first. Prints the model's bound and the speed."""
    pf.train(recipe, run, device="cpu")
    started = time.process_time()
    file = compress(run, tokens, verify=False)
    encoded = time.process_time()
    assert torch.equal(decompress(run, file), tokens)
    decoded = time.process_time()
    rows = tokens[: len(tokens) - len(tokens) % 128].view(-1, 128)
    model = pf.runs.load_coded(run)
    with torch.no_grad():
        bound = -sum(model.bound(part).sum() for part in rows.split(64)) / math.log(2) / rows.numel()
    speeds = (len(tokens) / seconds / 1e3 for seconds in (encoded - started, decoded - encoded))
    print("the bound: {:.3f} bits/char; {:.0f} kB/s encoded, {:.0f} decoded".format(bound, *speeds))
    return len(file)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    source = small().data
    assert isinstance(source, TextSource)
    (text,) = source.texts()[1]
    tokens, given = torch.from_numpy(source.tokenizer.encode(text)), text.encode()
    sizes = {
        "language model": coded(folder / "shakespeare_small", small(), tokens),
        "TarFlowLM": coded(folder / "shakespeare_small_flow", recipe("shakespeare", "small_flow"), tokens),
        "xz": len(lzma.compress(given, preset=9 | lzma.PRESET_EXTREME)),
        "bzip2": len(bz2.compress(given, 9)),
    }
    if zstd := shutil.which("zstd"):
        told = subprocess.run([zstd, "--ultra", "-22", "-c"], input=given, capture_output=True, check=True)
        sizes["zstd"] = len(told.stdout)
    print("| file | bytes | bits/char |\n|---|---|---|")
    for name, size in sizes.items():
        print(f"| {name} | {size:,} | {8 * size / len(tokens):.3f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path("runs"))
