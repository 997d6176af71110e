"""Editing images with a run: classes added, interpolation, inpainting."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate as interpolate_nearest
from torch.nn.functional import one_hot

from pushforward import editing
from pushforward.arrays import check_number
from pushforward.codecs import CodedFlow
from pushforward.data import Attributed, Captioned, Images, ImageSource, Order
from pushforward.editing import Langevin, RandomWalk
from pushforward.evaluation import check_picture, save_picture
from pushforward.randomness import Keyed
from pushforward.runs.data import image_data, recipe_of
from pushforward.runs.folder import load_coded
from pushforward.runs.null import check_null
from pushforward.runs.pictures import as_images, enlarged

LEARNED = 2000  # images from which directions are computed
AMOUNTS = 7  # pictures in a row, from one end to the other


@dataclass(frozen=True, kw_only=True)
class Chains:
    """How missing pixels are drawn: by Markov chains that start at samples of the flow."""

    fills: int = 3  # chains for each image
    steps: int = 1000  # of each chain; its scale is adapted in the first half
    proposal: Literal["langevin", "walk"] = "langevin"  # with the gradient, or noise alone
    scale: float = 0.05  # of a step's noise, to start with; images are on [−1, 1]
    seed: int = 0

    def __post_init__(self):
        if self.fills < 1:
            raise ValueError(f"fill each image at least once; got fills={self.fills}.")


def edit(
    run: Path,
    out: Path = Path("edited.png"),
    label: int | str | None = None,
    amount: float = 1.0,
    n: int = 6,
    data: str | None = None,
    device: str = "auto",
) -> dict[str, str]:
    """Add an attribute to images, and subtract it: `pushforward edit DIR --label 3 --amount 1 --out edited.png`.

    Attributes are the classes of the training images, or words that their captions name. One row for each image, edited
    by amounts from −amount to amount along the direction of the attribute: the mean latent of the training images that
    have it, minus that of all others. The original image is in the middle.

    Args:
        run: The run folder.
        out: The picture.
        label: The number or the name of the attribute; by default every one in turn.
        amount: The distance: 1 is from the mean of all others to that of the images with the attribute.
        n: How many images.
        data: A name, a file or a folder of images; by default the run's held-out images.
        device: cpu, cuda, mps, or auto.
    """
    _refuse_captions(run, "an edit by class")
    _check(run, out, n)
    check_number(amount, "amount")
    coded = load_coded(run, device=device)
    x, _ = _encoded(coded, run, data, n)
    flow, attributes = coded.flow, _attributes(run, data)
    if isinstance(label, str) and label in attributes.names:
        label = attributes.names.index(label)
    if label is not None and (isinstance(label, str) or not 0 <= label < len(attributes.names)):
        listed = ", ".join(attributes.names)
        raise ValueError(
            f"{recipe_of(run).data} has {len(attributes.names)} attributes, {listed}; got label {label!r}."
        )
    d = editing.directions(flow, *_learned(attributes), codec=coded.codec)
    numbers = torch.arange(len(x), device="cpu")
    each = numbers % len(attributes.names) if label is None else torch.full_like(numbers, label)
    amounts = torch.linspace(-amount, amount, AMOUNTS, device="cpu").tolist()
    columns = [_denoised(coded, editing.edit(flow, x, d[each], t)) for t in amounts]
    read = editing.read(flow, x, d)[numbers, each]
    readings = (f"{reading:.2f} of {attributes.names[k]}" for k, reading in zip(each, read.tolist(), strict=True))
    picture = _save(f"from {-amount:g} to {amount:g}", columns, out)
    return {"the images have": ", ".join(readings), "picture": picture}


def interpolate(
    run: Path,
    out: Path = Path("interpolated.png"),
    n: int = 8,
    pairs: int = 5,
    temperature: float = 1.0,
    data: str | None = None,
    device: str = "auto",
) -> str:
    """Interpolate between pairs of images: `pushforward interpolate DIR --n 8 --pairs 5 --out line.png`.

    Args:
        run: The run folder.
        out: The picture, one row for each pair.
        n: How many images in a row, with its two ends.
        pairs: How many pairs.
        temperature: A factor of all latents.
        data: A name, a file or a folder of images; by default the run's held-out images.
        device: cpu, cuda, mps, or auto.
    """
    _refuse_captions(run, "interpolation")
    _check(run, out, 2 * pairs)
    check_number(temperature, "temperature", least=0)
    coded = load_coded(run, device=device)
    x, _ = _encoded(coded, run, data, 2 * pairs)
    if len(x) < 2:
        raise ValueError(f"a pair is two images; there is {len(x)}.")
    ends = x[: len(x) // 2 * 2]
    line = editing.interpolate(coded.flow, ends[::2], ends[1::2], n, temperature=temperature)
    columns = [_denoised(coded, between) for between in line.unbind(1)]
    return f"{len(line)} pairs in {_save('from one to the other', columns, out)}"


def inpaint(
    run: Path,
    out: Path = Path("inpainted.png"),
    mask: str = "lower",
    n: int = 6,
    chains: Chains = Chains(),
    data: str | None = None,
    device: str = "auto",
) -> dict[str, str]:
    """Fill in missing pixels: `pushforward inpaint DIR --mask lower --steps 1000 --out inpainted.png`.

    One row for each image: the original, its known pixels, and completions drawn by Metropolis–Hastings chains. They
    are exact in the limit of many steps. The printed acceptance rate is that of the second half; near 0, the chains did
    not move. Of a run on captions an image is completed given its own caption, and latents of an autoencoder are drawn
    where the mask covers them.

    Args:
        run: The run folder.
        out: The picture.
        mask: What is missing: lower, upper, left, right, centre, or a picture that is white where pixels are missing.
        n: How many images.
        data: A name, a file or a folder of images; by default the run's held-out images.
        device: cpu, cuda, mps, or auto.
    """
    _check(run, out, n)
    coded = load_coded(run, device=device)
    x, own = _encoded(coded, run, data, n)
    flow = coded.flow
    missing = editing.hole(mask, (x.shape[2], x.shape[3])).to(x.device)
    noise = Keyed(chains.seed, rows=range(len(x) * chains.fills))
    given = own.repeat_interleave(chains.fills, 0) if isinstance(own, Tensor) else own
    start = editing.filled_by_samples(flow, x.repeat_interleave(chains.fills, 0), missing, given, generator=noise)
    proposal = (Langevin if chains.proposal == "langevin" else RandomWalk)(chains.scale)
    filled = editing.inpaint(flow, start, missing, chains.steps, proposal=proposal, context=given, generator=noise)
    fills = as_images(coded.codec, coded.denoise(filled.images, given)).unflatten(0, (len(x), chains.fills)).unbind(1)
    x = as_images(coded.codec, coded.denoise(x, own))
    hidden = interpolate_nearest(missing[None, None].float(), x.shape[2:])[0, 0] > 0
    picture = _save("original, known, drawn", [x, torch.where(hidden, 0, x), *fills], out)
    return {"chains": str(filled), "picture": picture}


def attribute_directions(run: Path, coded: CodedFlow) -> Generator[float, None, tuple[tuple[str, ...], Tensor]]:
    """The names of the attributes that `edit` adds, and their directions (attributes, *latent): of a generator, which
    yields the share of the images that are encoded.

    Raises ValueError where the run's images have no attributes, or it never learned the density without a label.
    """
    _refuse_captions(run, "an edit by class")
    check_null(run, recipe_of(run), "editing", "label")
    attributes = _attributes(run)
    images, has = _learned(attributes)
    latents = []
    for z in editing.encoded(coded.flow, images, coded.codec):
        latents.append(z)
        yield sum(map(len, latents)) / len(images)
    return attributes.names, editing.directions_of(latents, has)


class _Attributes(NamedTuple):
    names: tuple[str, ...]
    images: Images
    has: Tensor  # bool (images, attributes)


def _learned(attributes: _Attributes) -> tuple[Tensor, Tensor]:
    """The images from which directions are computed, and which attributes they have."""
    n = len(attributes.images)
    rows = Order(n, seed=0)[0 : min(LEARNED, n)]
    return attributes.images.fetch(rows)[0], attributes.has[rows]


def _refuse_captions(run: Path, what: str) -> None:
    source = recipe_of(run).data
    if isinstance(source, Captioned):
        raise ValueError(
            f"{what} needs the density without a caption, of images with classes; {run} learned captions. Complete "
            f"images, pushforward inpaint {run}, or vary them, pf.editing.vary."
        )


def _check(run: Path, out: Path, n: int) -> None:
    """Raise ValueError where nothing is to be edited, the picture cannot be written, or the run has no null label."""
    if n < 1:
        raise ValueError(f"take at least one image; got {n}.")
    check_picture(out)
    check_null(run, recipe_of(run), "editing", "label")


@torch.no_grad()
def _encoded(coded: CodedFlow, run: Path, data: str | None, n: int) -> tuple[Tensor, Tensor | int | None]:
    """The first n held-out images of a run, or of other data, as events; and their captions, or the null label."""
    images, captions = image_data(run, data), isinstance(recipe_of(run).data, Captioned)
    chosen = range(min(n, len(images)))
    integers, context = images.fetch(chosen)
    x = coded.codec.encode(integers, Keyed(0, rows=chosen))[0].to(coded.flow.device)
    return x, context if captions else -1 if coded.flow.classes else None


def _attributes(run: Path, data: str | None = None) -> _Attributes:
    """The run's training images, with what their captions name, or with their labels even where the flow has none.

    Of a flow that was saved without its data they are those of the other data.
    """
    recipe = recipe_of(run)
    source, takes = recipe.data, recipe.takes()
    source = source.at(data) if data and not source.where else source
    if isinstance(source, Attributed):
        return _Attributes(source.attributes, source.images(takes, held_out=False), source.has(held_out=False))
    found = source.labelled(takes) if isinstance(source, ImageSource) else None
    if found is None or found.labels is None:
        raise ValueError(
            f"the direction of a class needs labels, and those of {source} have no labels. With attributes of your "
            "own, call pf.editing.directions."
        )
    names = found.names or tuple(map(str, range(found.classes)))
    return _Attributes(names, found, one_hot(found.labels, found.classes).bool())


def _denoised(coded: CodedFlow, x: Tensor) -> Tensor:
    """Images without the Gaussian noise of their codec, if it has any; a flow of labels is given the null label."""
    return coded.denoise(x, -1 if coded.flow.classes else None)


def _save(caption: str, columns: list[Tensor], out: Path) -> str:
    """Write the columns (n, C, H, W) as a picture. Returns its path, and how many images overflowed, as text."""
    x = torch.stack(columns, 1).flatten(0, 1)
    lost = (~x.flatten(1).isfinite().all(1)).sum().item()
    save_picture(enlarged(x, len(columns), caption), out)
    return f"{out}; {lost} of its {len(x)} images overflowed" if lost else str(out)
