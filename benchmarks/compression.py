"""Files of the digits' test set: by a TarFlow, and by PNG, WebP and xz. Bytes, all counted.

    OMP_NUM_THREADS=1 python benchmarks/compression.py [folder of the run]

The run is trained first where it is missing, which takes a minute of one core. The others have all digits in
one image of 8 columns. The flow's file does not hold the flow.
"""

from __future__ import annotations

import io
import lzma
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pushforward import runs
from pushforward.codecs import UniformDequantization
from pushforward.compression import compress, decompress
from pushforward.data import find
from pushforward.models import TarFlow
from pushforward.objectives import MaximumLikelihood
from pushforward.recipes import digits


def trained(folder: Path) -> Path:
    if not (folder / "model.safetensors").exists():
        recipe = replace(
            digits(),
            model=TarFlow(image=(1, 8, 8), patch=2, transforms=3, width=64, depth=2),
            codec=UniformDequantization(17),
            objective=MaximumLikelihood(),
            train=replace(digits().train, steps=500),
        )
        runs.train(recipe, folder, device="cpu")
    return folder


def picture(x: np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(x.reshape(-1, x.shape[-1])).save(file, kind, **options)
    return file.getvalue()


def main(folder: Path) -> None:
    run = trained(folder)
    x = find("digits", "test").fetch(range(360))[0]
    started = time.perf_counter()
    file = compress(run, x, verify=False)
    encoded = time.perf_counter()
    assert torch.equal(decompress(run, file), x)
    decoded = time.perf_counter()
    coded = runs.load_coded(run)
    with torch.no_grad():
        bound = -coded.bound(x, generator=torch.Generator().manual_seed(0)).sum().item() / math.log(2) / 8
    pixels = x.numpy()
    sizes = {
        "TarFlow": len(file),
        "PNG": len(picture(pixels, "png", optimize=True)),
        "WebP": len(picture(pixels, "webp", lossless=True, quality=100, method=6)),
        "xz": len(lzma.compress(pixels.tobytes(), preset=9)),
    }
    print("| file | bytes | bits/dim |\n|---|---|---|")
    for name, size in sizes.items():
        print(f"| {name} | {size:,} | {8 * size / x.numel():.3f} |")
    print(f"the flow's bound: {bound:,.0f} bytes; {x.numel() / (encoded - started) / 1e3:.1f} kB/s encoded, "
          f"{x.numel() / (decoded - encoded) / 1e3:.1f} kB/s decoded")  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if sys.argv[1:] else Path("runs/digits_lossless"))
