"""Changes of an image: along directions of its attributes, and of pixels that are marked as missing."""

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pushforward import editing
from pushforward.explore.gallery import Gallery, png
from pushforward.explore.latest import Latest
from pushforward.explore.worker import Parts
from pushforward.flow import Flow
from pushforward.randomness import Keyed
from pushforward.runs.editing import attribute_directions
from pushforward.sampling import Sampling
from pushforward.shapes import Events
from pushforward.transforms import Continuous

CELLS = 32  # of a mask, along a side, at most
FILLS, STEPS, TUNING = 4, 10, 60  # chains of an image, steps of an answer, and of all those that adapt the scale
KEPT = 16  # images whose chains can go on


class Chains(NamedTuple):
    """Chains that fill in an image, after so many steps."""

    images: Events  # (FILLS, C, H, W)
    scale: float  # of the noise of a step
    noise: Keyed
    steps: int


class Edits:
    """Edits of the images of a run, which has learned the density without a class."""

    def __init__(self, run: str | PathLike[str], gallery: Gallery):
        self.run, self.gallery = Path(run), gallery
        self.coded, self.flow = gallery.coded, gallery.coded.flow
        self.known: tuple[tuple[str, ...], Events] | None = None  # attributes, and their directions
        self.chains = Latest[tuple[str, Sampling, str], Chains](KEPT)

    def attributes(self) -> Parts:
        """The names of the attributes that images can be given.

        There are none where the run's images have no attributes, or are not here.
        """
        if self.known is None:
            try:
                self.known = yield from attribute_directions(self.run, self.coded)
            except (ValueError, OSError, FloatingPointError):  # the last where latents are not finite
                self.known = (), torch.zeros(0, *self.flow.base.event)
        return self.known[0]

    def edited(self, name: str, sampling: Sampling, amounts: dict[int, float]) -> Parts:
        """An image with these amounts of attributes added, and how much it then has of each.

        Raises ValueError where there is no such attribute, or the image overflows.
        """
        yield from self.attributes()
        assert self.known is not None
        names, directions = self.known
        if not names or not set(amounts) <= set(range(len(names))):
            raise ValueError(f"there are {len(names)} attributes; got amounts of {sorted(amounts)}.")
        x = self.gallery.encoded(name, sampling)
        weights = torch.tensor([amounts.get(k, 0.0) for k in range(len(names))])
        made = editing.edit(self.flow, x, torch.einsum("k,k...->...", weights.to(directions), directions), 1.0)
        if not made.isfinite().all():
            raise ValueError("so far along, the image overflows. Take smaller amounts.")
        return {
            "raw": png(made[0]),
            "image": png(self._denoised(made)[0]),
            "readings": editing.read(self.flow, made, directions)[0].tolist(),
        }

    def filled(self, name: str, sampling: Sampling, mask: str, anew: bool) -> dict[str, Any]:
        """Some more steps of the chains that draw the pixels marked by `mask`, or their first ones.

        The acceptance rate is that of the last half of these steps. The scale is adapted at first, and then stays.
        Raises ValueError where the flow is continuous: a step would take seconds.
        """
        if is_continuous(self.flow):
            raise ValueError(
                f"each step would solve an equation and its gradient: pushforward inpaint {self.run} does."
            )
        key = (name, sampling, mask)
        missing = read_mask(mask, *self.flow.event[1:])
        chains = self.chains.pop(key, None)
        if anew or chains is None:
            chains = self._begun(self.gallery.encoded(name, sampling), missing, sampling.seed)
        proposal = editing.Langevin(chains.scale, adapted=chains.steps < TUNING)
        filled = editing.inpaint(self.flow, chains.images, missing, STEPS, proposal=proposal, generator=chains.noise)
        chains = Chains(filled.images, filled.scale.mean().item(), chains.noise, chains.steps + STEPS)
        self.chains[key] = chains
        return {
            "images": [png(x) for x in self._denoised(chains.images)],
            "acceptance": filled.acceptance.mean().item(),
            "scale": chains.scale,
            "steps": chains.steps,
            "tuning": proposal.adapted,
        }

    def _begun(self, x: Tensor, missing: Tensor, seed: int) -> Chains:
        """Chains at samples of the flow, where pixels are missing."""
        noise = Keyed(seed, rows=range(FILLS))
        given = -1 if self.flow.classes else None
        start = editing.filled_by_samples(self.flow, x.expand(FILLS, -1, -1, -1), missing, given, generator=noise)
        return Chains(start, editing.Langevin().scale, noise, 0)

    def _denoised(self, x: Events) -> Events:
        return self.coded.denoise(x, -1 if self.flow.classes else None)


def is_continuous(flow: Flow) -> bool:
    """Whether a density is the solution of a differential equation."""
    return any(isinstance(part, Continuous) for part in flow.modules())


def read_mask(text: str, height: int, width: int) -> Tensor:
    """The missing pixels, bool (H, W): the cells of a grid, by rows, four in a hexadecimal digit, 1 where missing.

    The grid has a cell for each pixel, and 32 along a side at most. Raises ValueError for another text.

    >>> read_mask("0f", 2, 4).int().tolist()
    [[0, 0, 0, 0], [1, 1, 1, 1]]
    """
    rows, columns = min(height, CELLS), min(width, CELLS)
    digits = -(-rows * columns // 4)
    if len(text) != digits or set(text) - set("0123456789abcdef"):
        raise ValueError(f"a mask of {rows} × {columns} cells has {digits} hexadecimal digits; got {text[:40]!r}.")
    bits = torch.tensor([int(digit) for digit in f"{int(text, 16):0{4 * digits}b}"])[: rows * columns]
    cells = bits.reshape(1, 1, rows, columns).float()
    return interpolate(cells, (height, width))[0, 0] > 0


def read_amounts(text: str) -> dict[int, float]:
    """Amounts of attributes. Raises ValueError for another text.

    >>> read_amounts("0:0.5,3:-1")
    {0: 0.5, 3: -1.0}
    """
    pairs = [part.split(":") for part in text.split(",") if part]
    try:
        found = {int(k): float(amount) for k, amount in pairs}
    except ValueError:
        raise ValueError(f"amounts are ATTRIBUTE:AMOUNT, with commas between them; got {text[:40]!r}.") from None
    if not all(abs(amount) <= 4 for amount in found.values()):
        raise ValueError(f"amounts are −4 … 4; got {text[:40]!r}.")
    return found
