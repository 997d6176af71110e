"""PUSHFORWARD_DATA=… OMP_NUM_THREADS=1 python benchmarks/sprites_video.py RUN PICTURE: a run of the recipe `sprites`.

How probable clips of held-out characters are, and under a flow of single frames; and whether a judge, which learned
clips of the other characters in all actions, sees the prompted action and attributes in sampled clips. Prompts are
captions of held-out characters. Half of them have an attribute and an action that were never learned together. The
judge is kept as RUN/judge.pt, the flow of single frames as RUN/alone.pt.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import torch
from classifier import learn
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.codecs import CodedFlow, placed
from pushforward.data.data import Data, Rows, row_numbers
from pushforward.data.sprites import ATTRIBUTES, CHARACTERS, SpriteClips, composed, has_pair, read_layers
from pushforward.evaluation import captioned, grid, save_picture
from pushforward.guidance import GaussianProduct
from pushforward.randomness import Keyed, keyed
from pushforward.recipe import Recipe
from pushforward.runs.folder import load_coded, read_recipe
from pushforward.training import minimise

DRAWN, SCORED, SHOWN = 50, 250, 4  # clips of either kind
STEPS = 3000  # of the flow of single frames, with as many frames in a step as the run has
WEIGHTS = (0.0, 1.0)  # of guidance; the last is shown


class Judge(nn.Module):
    """Clips (n, 8, 3, 16, 16) on [−1, 1] -> logits of actions (n, 9), and of attributes by frame (n, 8, 6, 4)."""

    def __init__(self):
        super().__init__()
        sizes, strides = (3, 32, 64, 64), (1, 2, 2)
        layers = [nn.Conv2d(*sizes[i : i + 2], 3, stride=strides[i], padding=1) for i in range(3)]
        parts = [part for layer in layers for part in (layer, nn.ReLU())]
        self.features = nn.Sequential(*parts, nn.Flatten(), nn.Linear(64 * 4 * 4, 128), nn.ReLU())
        self.action, self.attributes = nn.Linear(8 * 128, 9), nn.Linear(128, 6 * 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.action(features.flatten(1)), self.attributes(features).unflatten(2, (6, 4))

    @torch.no_grad()
    def tell(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The four attributes and the action (n, 5), and how often an attribute changes from frame to frame (n,)."""
        action, attributes = self(x)
        whole, each = attributes.log_softmax(2).sum(1).argmax(1), attributes.argmax(2)
        flips = (each[:, 1:] != each[:, :-1]).sum((1, 2))
        return torch.cat([whole, action.argmax(1, keepdim=True)], 1), flips


def learned_judge(path: Path, layers: Tensor, rows: Tensor, steps: int = 600) -> Judge:
    """Train it on these clips with noise of 0.1, or load it."""
    torch.manual_seed(0)
    judge = Judge()

    def loss(numbers: Tensor, step: int) -> Tensor:
        told = rows[numbers]
        x = placed(composed(layers, told, (16, 16)), 256)
        action, attributes = judge(x + 0.1 * torch.randn(x.shape, generator=keyed(step)))
        by_frame = F.cross_entropy(attributes.flatten(0, 1), told[:, :4].repeat_interleave(8, 0))
        return F.cross_entropy(action, told[:, 4]) + by_frame

    learn(judge, path, len(rows), loss, steps)
    return judge


class Frames(Data):
    """Clips of one frame each: all frames of these clips."""

    def __init__(self, clips: SpriteClips):
        parts = [clips.fetch(rows) for rows in torch.arange(len(clips)).split(256)]
        frames, texts = zip(*parts, strict=True)
        self.frames, self.texts = torch.cat(frames).flatten(0, 1)[:, None], torch.cat(texts)

    def __len__(self) -> int:
        return len(self.frames)

    def fetch(self, rows: Rows) -> tuple[Tensor, Tensor]:
        rows = row_numbers(rows)
        return self.frames[rows], self.texts[rows // 8]


def learned_alone(path: Path, recipe: Recipe, clips: SpriteClips) -> CodedFlow:
    """Train the same flow on single frames, or load it."""
    torch.manual_seed(0)
    objective = recipe.build()
    if path.exists():
        objective.flow.load_state_dict(torch.load(path, weights_only=True))
        return CodedFlow(objective.flow, objective.codec)
    plan = replace(recipe.train, steps=STEPS, batch=8 * recipe.train.batch)
    flow = minimise(objective, Frames(clips), plan)
    torch.save(flow.state_dict(), path)
    return CodedFlow(flow, objective.codec)


def print_nats(coded: CodedFlow, single: CodedFlow, parts: dict[str, tuple[SpriteClips, Tensor]]) -> None:
    """A table of −log p in nats for each element of noisy clips: of all frames, the first, and the others."""
    least = 0.5 * math.log(2 * math.pi * math.e * coded.codec.sigma**2)
    print(f"nats/dim; with the noiseless clip known they would be {least:.3f}")
    print("| clips | density | all frames | first | others | nats a clip above given the prompt |")
    print("|---|---|---|---|---|---|")
    for name, (data, numbers) in parts.items():
        clips, text = data.fetch(numbers)
        x = coded.codec.encode(clips, Keyed(0, rows=numbers.tolist()))[0]
        frames, texts, null = x.flatten(0, 1)[:, None], text.repeat_interleave(8, 0), {"text": None}
        alone = nats(single, frames, texts).unflatten(0, (-1, 8))
        told = nats(coded, x, text)
        for how, whole, first in (
            ("given the prompt", told, nats(coded, x[:, :1], text)),
            ("without it", nats(coded, x, null), nats(coded, x[:, :1], null)),
            ("each frame alone, given the prompt", alone.mean(1), alone[:, 0]),
        ):
            above, others = x[0].numel() * (whole - told), (8 * whole - first).mean() / 7
            cells = f"{mean_error(whole, 3)} | {first.mean():.3f} | {others:.3f} | {mean_error(above, 1)}"
            print(f"| {name} | {how} | {cells} |")


def mean_error(values: Tensor, digits: int) -> str:
    """The mean of values and its standard error."""
    return f"{values.mean():.{digits}f} ± {values.std() / len(values) ** 0.5:.{digits}f}"


@torch.no_grad()
def nats(coded: CodedFlow, x: Tensor, context: object) -> Tensor:
    """−log p of each clip, for each element, (n,)."""
    rows = torch.arange(len(x)).split(64)
    given = [context if isinstance(context, dict) else context[part] for part in rows]
    return -torch.cat([coded.flow.log_prob(x[part], c) for part, c in zip(rows, given, strict=True)]) / x[0].numel()


def print_judged(judge: Judge, clips: Tensor, rows: Tensor, name: str) -> None:
    """A row of a table: how many per cent of clips have each told value, and all five; and changes of a clip."""
    found, flips = (torch.cat(parts) for parts in zip(*map(judge.tell, clips.split(256)), strict=True))
    right = found == rows
    shares = [right[:, k].float().mean() for k in (4, 0, 1, 2, 3)] + [right.all(1).float().mean()]
    print(f"| {name} | {' | '.join(f'{100 * share:.1f}' for share in shares)} | {flips.float().mean():.2f} |")


def drawn(coded: CodedFlow, text: Tensor, weight: float) -> Tensor:
    """Guided clips of these prompts, denoised."""
    flow = coded.flow.guided(weight, rule=GaussianProduct()) if weight else coded.flow
    return coded.denoise(flow.sample((), text, size=(8, 3, 16, 16), generator=Keyed(0, rows=range(len(text)))), text)


def main(run: str, out: str) -> None:
    torch.set_num_threads(1)
    coded, recipe = load_coded(run), read_recipe(run)
    training, held_out = recipe.training_data(), recipe.held_out_data()
    layers, characters = read_layers(recipe.data.pack)
    unseen = has_pair(held_out.rows)
    whole = torch.tensor([caption.count(",") == 4 for caption in training.captions])
    kinds = {"seen pairs": spread(~unseen, DRAWN), "unseen pairs": spread(unseen, DRAWN)}
    scored = {name: (held_out, spread(mask, SCORED)) for name, mask in zip(kinds, (~unseen, unseen), strict=True)}
    single = learned_alone(Path(run) / "alone.pt", recipe, training)
    print_nats(coded, single, {"of the training": (training, spread(whole, SCORED)), **scored})
    judge = learned_judge(Path(run) / "judge.pt", layers, characters[:CHARACTERS].flatten(0, 1))
    print(f"| clips | action | {' | '.join(ATTRIBUTES)} | all five | changes |\n|{'---|' * 8}")
    real = placed(composed(layers, held_out.rows, (16, 16)), 256)
    print_judged(judge, real, held_out.rows, "real, held out")
    panels = {}
    for name, numbers in kinds.items():
        for weight in WEIGHTS:
            clips = drawn(coded, held_out.fetch(numbers)[1], weight)
            print_judged(judge, clips, held_out.rows[numbers], f"{name}, guidance {weight:g}")
        for i in range(0, DRAWN, DRAWN // SHOWN)[:SHOWN]:
            both = torch.cat([clips[i], real[numbers[i]]])
            panels[f"{name}: {held_out.captions[int(numbers[i])]}"] = grid(both, 8)
    save_picture(captioned(panels, columns=2, zoom=4), out)


def spread(mask: Tensor, count: int) -> Tensor:
    """Indices of rows where the mask is True, evenly spread."""
    rows = mask.nonzero().flatten()
    return rows[torch.linspace(0, len(rows) - 1, count).long()]


if __name__ == "__main__":
    main(*sys.argv[1:])
