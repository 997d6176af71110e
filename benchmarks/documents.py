"""PUSHFORWARD_DATA=… OMP_NUM_THREADS=1 python benchmarks/documents.py RUN PICTURE: a run of the recipe `sprites2`.

Held-out characters, one action each: attributes that captions written from their images tell, by the most probable
tokens; and attributes that a judge sees in images drawn from their captions. The judge learned frames of the other
characters, and is kept as RUN/judge.pt. Then retrieval, ordinary sentences, and seconds and memory of one document.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from classifier import learn
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.codecs import CodedFlow, placed
from pushforward.data import Document
from pushforward.data.sprites import ACTIONS, CHARACTERS, caption, composed, read_layers
from pushforward.document_flow import DocumentFlow
from pushforward.evaluation import (
    ORDINARY,
    document_flow,
    document_retrieval,
    grid,
    ordinary_text,
    save_picture,
    table,
)
from pushforward.guidance import GaussianProduct
from pushforward.randomness import Keyed, keyed
from pushforward.runs.documents import written_captions
from pushforward.runs.folder import load_coded, read_recipe

MOST, RANKED, SHOWN = 100, 40, 6  # held-out characters, those whose captions are ranked, and those in the picture
WEIGHTS = (0, 2, 5)  # of guidance
TOLD = ("action", "skin", "trousers", "top", "hair")  # in the order of a caption


class Judge(nn.Module):
    """Frames (n, 3, 16, 16) on [−1, 1] -> logits of the values of four attributes, and of the action, (n, 9, 5)."""

    def __init__(self):
        super().__init__()
        sizes, strides = (3, 32, 64, 64), (1, 2, 2)
        layers = [nn.Conv2d(*sizes[i : i + 2], 3, stride=strides[i], padding=1) for i in range(3)]
        parts = [part for layer in layers for part in (layer, nn.ReLU())]
        self.answer = nn.Sequential(*parts, nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 45))

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x).unflatten(1, (9, 5))


def learned_judge(path: Path, layers: Tensor, rows: Tensor, steps: int = 1000) -> Judge:
    """Train it on these frames with noise of 0.1, or load it."""
    torch.manual_seed(0)
    judge = Judge()

    def loss(numbers: Tensor, step: int) -> Tensor:
        told = rows[numbers]
        x = placed(composed(layers, told, (16, 16))[:, 0], 256)
        return F.cross_entropy(judge(x + 0.1 * torch.randn(x.shape, generator=keyed(step))), told)

    learn(judge, path, len(rows), loss, steps)
    return judge


def told(captions: list[str], rows: Tensor) -> Tensor:
    """Whether captions tell the action and each attribute of these rows (n, 5), in the order of `TOLD`."""
    right = [caption(values, action).split(", ") for *values, action in rows.tolist()]
    return torch.tensor(
        [[phrase in text.split(", ") for phrase in row] for text, row in zip(captions, right, strict=True)]
    )


def print_row(name: str, right: Tensor) -> None:
    """A row of a table: in how many per cent of rows (n, 5) each is right, their mean, and all five are."""
    shares = [*right.float().mean(0).tolist(), right.float().mean().item(), right.all(1).float().mean().item()]
    print(f"| {name} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |")


@torch.no_grad()
def seen(judge: Judge, images: Tensor, rows: Tensor) -> Tensor:
    """Whether the judge sees the action and each attribute of these rows in images on [−1, 1], (n, 5)."""
    right = judge(images).argmax(1) == rows
    return torch.cat([right[:, 4:], right[:, :4]], 1)


def drawn(flow: DocumentFlow, texts: list[Tensor], weight: float) -> Tensor:
    """An image of each caption, with its noise, guided by this weight."""
    guided = flow.guided(weight, rule=GaussianProduct()) if weight else flow
    documents = guided.draw_image([Document([text]) for text in texts], generator=Keyed(1, rows=range(len(texts))))
    return torch.stack([document.images[0] for document in documents])


def print_costs(coded: CodedFlow, x: Tensor, text: Tensor, end: int) -> None:
    """Seconds of one document, and the share of the frozen language model; the best of three."""
    flow, language = document_flow(coded), document_flow(coded).net.language.model
    spent: list[float] = []

    def timed(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*given: Tensor) -> Tensor:
            began = time.perf_counter()
            found = function(*given)
            spent.append(time.perf_counter() - began)
            return found

        return call

    language._states, language.logits = timed(language._states), timed(language.logits)
    print("| one document | seconds | of them the language model |\n|---|---|---|")
    for name, work in {
        "scored, image and caption": lambda: flow.document_log_prob([Document([x, text])]),
        "an image drawn": lambda: flow.draw_image([Document([text])], generator=keyed(0)),
        "a caption written": lambda: flow.write_text([Document([x, text[:1]])], end=end, most=32, temperature=0),
    }.items():
        best = (float("inf"), 0.0)
        for _ in range(3):
            spent.clear()
            began = time.perf_counter()
            work()
            best = min(best, (time.perf_counter() - began, sum(spent)))
        print(f"| {name} | {best[0]:.2f} | {100 * best[1] / best[0]:.0f} % |")
    weights = sum(buffer.nbytes for buffer in language.buffers()) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:,.0f} MiB at most in this process, of which {weights:,.0f} are weights of the language model")


def save_pairs(images: Tensor, written: list[str], drawn: Tensor, captions: list[str], zoom: int, out: str) -> None:
    """A picture of images (n, C, H, W) of bytes with captions written of them, and of images drawn of captions."""
    cells = {}
    for i in range(len(images)):
        shown, asked = (grid(placed(pixels[i : i + 1], 256), 1) for pixels in (images, drawn))
        cells[f"{i + 1}"] = {"image -> caption": (shown, written[i]), "caption -> image": (asked, captions[i])}
    save_picture(table(cells, zoom=zoom), out)


@torch.no_grad()
def main(run: str, out: str) -> None:
    coded, source = load_coded(run), read_recipe(run).data
    flow, end = document_flow(coded), source.tokenizer.end
    layers, every = read_layers("sprites_layers")
    frames = layers[:, :, source.pairs.frame : source.pairs.frame + 1]
    with torch.enable_grad():
        judge = learned_judge(Path(run) / "judge.pt", frames, every[:CHARACTERS].flatten(0, 1))

    rows = every[CHARACTERS:][torch.arange(MOST), torch.arange(MOST) % len(ACTIONS)]
    images = composed(frames, rows, (16, 16))[:, 0]
    captions = [caption(values, action) for *values, action in rows.tolist()]
    texts = [source.tokens(text) for text in captions]
    x = coded.codec.encode(images, Keyed(0, rows=range(MOST)))[0]
    written = written_captions(flow, source, x)
    noisy = {weight: drawn(flow, texts, weight) for weight in WEIGHTS}
    names = (*TOLD, "mean", "all five")
    print(f"| {MOST} held-out characters, per cent | {' | '.join(names)} |\n|{'---|' * (1 + len(names))}")
    print_row("captions of images", told(written, rows))
    for weight, drawings in noisy.items():
        guided = f" with a guidance of {weight}" if weight else ""
        print_row(f"images of captions{guided}, by the judge", seen(judge, drawings, rows))
    print_row("the judge on true images with noise", seen(judge, x, rows))
    by_text, by_image = document_retrieval(coded, images[:RANKED], texts[:RANKED])
    print(f"{by_text}, by P(caption | image)\n{by_image}, by p(image | caption)")
    print(ordinary_text(flow, [torch.from_numpy(source.tokenizer.encode(sentence)) for sentence in ORDINARY]))
    print_costs(coded, x[0], texts[0], end)

    save_pairs(images[:SHOWN], written, coded.codec.decode(noisy[0]), captions, 6, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
