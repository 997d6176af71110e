"""The precision of float32 arithmetic on GPUs, in a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def float32_by(tf32: bool) -> Iterator[None]:
    """In this block matrix products and convolutions of float32 on GPUs are in TF32, of 10 bits, or are exact.

    Torch's flags, which are global, are restored afterwards. By default torch multiplies matrices exactly, and lets
    cuDNN convolve in TF32.
    """
    products: Any = torch.backends.cuda.matmul
    convolutions: Any = torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = tf32
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
