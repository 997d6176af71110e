"""Files of a hundred images of MNIST's test set: by a language model of pixels, and by PNG, WebP, xz and zstd.

    PUSHFORWARD_DATA=DIR OMP_NUM_THREADS=1 python benchmarks/lossless_mnist.py [weights.pt]

The model reads an image as 784 tokens of 256 levels, and has two layers of width 64. It is trained first where the file
is missing, on 8,000 draws from the training set, in three and a half minutes of one core. PNG and WebP have all images
in one, 10 by 10. Bytes, all counted; the model's file does not hold the model.
"""

from __future__ import annotations

import io
import lzma
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pushforward.codecs import CodedFlow, TokenCells
from pushforward.compression import compress, decompress
from pushforward.data import find
from pushforward.models import AutoregressiveLM

STEPS, BATCH, LR, WARMUP = 1000, 8, 4e-3, 30
PIXELS, LEVELS = 784, 256


def trained(file: Path) -> CodedFlow:
    torch.manual_seed(0)
    flow = AutoregressiveLM(tokens=PIXELS, vocabulary=LEVELS, width=64, depth=2).build()
    coded, data = CodedFlow(flow, TokenCells(LEVELS, unit="bits/dim")), find("mnist", "train")
    if file.exists():
        flow.load_state_dict(torch.load(file, weights_only=True))
        return coded
    optimiser = torch.optim.AdamW(flow.parameters(), betas=(0.9, 0.95), weight_decay=1e-4, fused=True)
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        share = 0.5 * (1 + math.cos(math.pi * step / STEPS)) + 0.01
        optimiser.param_groups[0]["lr"] = LR * min(1, (step + 1) / WARMUP) * share
        rows = data.fetch(torch.randint(len(data), (BATCH,), generator=generator))[0]
        loss = -coded.bound(rows.reshape(BATCH, PIXELS), generator=generator).mean() / PIXELS
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0:
            print(f"step {step}: {loss.item() / math.log(2):.3f} bits/dim", file=sys.stderr, flush=True)
    torch.save(flow.state_dict(), file)
    return coded


def others(x: Tensor) -> dict[str, int]:
    """The bytes of files of images (100, 28, 28)."""
    sheet = Image.fromarray(x.reshape(10, 10, 28, 28).transpose(1, 2).reshape(280, 280).numpy())
    sizes = {}
    for name, options in {"PNG": {"optimize": True}, "WebP": {"lossless": True, "quality": 100, "method": 6}}.items():
        file = io.BytesIO()
        sheet.save(file, name, **options)
        sizes[name] = len(file.getvalue())
    given = x.numpy().tobytes()
    sizes["xz"] = len(lzma.compress(given, preset=9 | lzma.PRESET_EXTREME))
    if zstd := shutil.which("zstd"):
        told = subprocess.run([zstd, "--ultra", "-22", "-c"], input=given, capture_output=True, check=True)
        sizes["zstd"] = len(told.stdout)
    return sizes


def main(file: Path) -> None:
    torch.set_num_threads(1)
    coded, x = trained(file), find("mnist", "test").fetch(range(100))[0].reshape(100, PIXELS)
    started = time.process_time()
    made = compress(coded, x, verify=False)
    encoded = time.process_time()
    assert torch.equal(decompress(coded, made), x)
    decoded = time.process_time()
    with torch.no_grad():
        bound = -sum(coded.bound(part).sum() for part in x.split(50)) / math.log(2) / x.numel()
    print("| file | bytes | bits/dim |\n|---|---|---|")
    for name, size in {"language model of pixels": len(made), **others(x.view(-1, 28, 28))}.items():
        print(f"| {name} | {size:,} | {8 * size / x.numel():.3f} |")
    speeds = (x.numel() / seconds / 1e3 for seconds in (encoded - started, decoded - encoded))
    print("the bound: {:.3f} bits/dim; {:.1f} kB/s encoded, {:.1f} decoded".format(bound, *speeds))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path("runs/mnist_pixels.pt"))
