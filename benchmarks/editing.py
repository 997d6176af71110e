"""Attributes of sprites and digits, edited by a Glow: the result by a classifier, and what else changed.

    PUSHFORWARD_DATA=folder .venv/bin/python benchmarks/editing.py

Trains two Glows and two independent classifiers into runs/editing, or continues them. Held-out images get another value
of an attribute, along the direction of the new value minus that of their own, by an amount of 1. The result is decoded
to integers, as in a file, before anything is measured. Prints the tables of docs/editing.md and draws its pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from classifier import Classifier, Task, learn_classifier, placed
from sprites import ATTRIBUTES, LEVELS, VALUES, drawn, sprites
from torch import Tensor
from torch.nn import functional as F

import pushforward as pf
from pushforward.codecs import CodedFlow, UniformDequantization
from pushforward.data import Images, Order, find
from pushforward.evaluation import captioned, grid, held_out_mean, save_picture
from pushforward.flow import Flow
from pushforward.randomness import Keyed, keyed
from pushforward.training import Checkpoints, Likelihood, Log, Plan, minimise

RUNS, DOCS = Path("runs/editing"), Path("docs")
LEARNED, EDITED, SHOWN = 4000, 400, 8  # images for directions; to edit; to show
AMOUNTS = (0.5, 1.0, 1.5, 2.0)


def sprite_task() -> Task:
    (images, has, _), (test, test_has, _) = sprites("train"), sprites("test")
    return Task(LEVELS, ATTRIBUTES, VALUES, images, has, test, test_has)


def digit_task() -> Task:
    train, test = (find("mnist", split) for split in ("train", "test"))
    images, test_images = (part.images // (256 // LEVELS) for part in (train, test))
    return Task(LEVELS, ("digit",), 10, images, train.labels[:, None], test_images, test.labels[:, None])


def learn_flow(name: str, flow: Flow, task: Task, steps: int) -> Flow:
    """Train, or continue; returns the flow of averaged weights."""
    folder = RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(steps=steps, batch=32, lr=3e-3, average_decay=0.99, precision="float32", checkpoint_every=100)
    objective = Likelihood(flow, UniformDequantization(task.levels))
    data = Images(task.images, levels=task.levels)
    return minimise(objective, data, plan, checkpoints=Checkpoints(folder), log=Log(folder)).eval()


class Change(NamedTuple):
    """Held-out images of integers, before and after an edit of an attribute, and its readings."""

    rows: Tensor
    before: Tensor
    after: Tensor
    wanted: Tensor
    read_before: Tensor
    read_after: Tensor


def directions(flow: Flow, task: Task) -> Tensor:
    """(attributes, values, *latent)."""
    rows = Order(len(task.images), seed=0)[0:LEARNED]
    has = F.one_hot(task.has[rows], task.values).flatten(1).bool()
    d = pf.editing.directions(flow, task.images[rows], has, codec=UniformDequantization(task.levels))
    return d.unflatten(0, (len(task.names), task.values))


def changed(flow: Flow, task: Task, d: Tensor, attribute: int, amount: float = 1.0) -> Change:
    codec, noise = UniformDequantization(task.levels), Keyed(0, rows=range(EDITED))
    rows = Order(len(task.test), seed=attribute)[0:EDITED]
    before, has = task.test[rows], task.test_has[rows, attribute]
    wanted = (has + 1 + torch.arange(EDITED) % (task.values - 1)) % task.values
    x = codec.encode(before, noise)[0]
    after = codec.decode(pf.editing.edit(flow, x, d[attribute][wanted] - d[attribute][has], amount))
    images = (x, codec.encode(after, noise)[0])
    read = [pf.editing.read(flow, each, d[attribute])[torch.arange(EDITED), wanted] for each in images]
    return Change(rows, before, after, wanted, *read)


def grey(a: Tensor, b: Tensor, task: Task) -> Tensor:
    """The mean difference of pixels, of 255."""
    return (a.float() - b.float()).abs() * 255 / (task.levels - 1)


def shares(change: Change, task: Task, classifier: Classifier, attribute: int) -> list[str]:
    """The first cells of a row: the readings, and the classifications."""
    told = [classifier.tell(images, task.levels) for images in (change.before, change.after)]
    seen = [(values[:, attribute] == change.wanted).float().mean() for values in told]
    other = [k for k in range(len(task.names)) if k != attribute]
    kept = f"{(told[1] == task.test_has[change.rows])[:, other].float().mean():.1%}" if other else "–"
    return [
        f"{change.read_before.mean():.2f} → {change.read_after.mean():.2f}",
        f"{seen[0]:.1%} → {seen[1]:.1%}",
        kept,
    ]


def report_sprites(task: Task, flow: Flow, classifier: Classifier) -> None:
    d, poses, panels = directions(flow, task), sprites("test")[2], {}
    print(
        "| attribute | reading of the new value | classified as it | others classified as before |"
        " change of own pixels | of others | from the true picture |\n" + "|---" * 7 + "|"
    )
    for attribute, name in enumerate(task.names):
        change = changed(flow, task, d, attribute)
        values = task.test_has[change.rows].clone()
        values[:, attribute] = change.wanted
        true = drawn(values, poses[change.rows])
        own = (true != change.before).any(1, keepdim=True).expand_as(true)
        moved = grey(change.after, change.before, task)
        cells = shares(change, task, classifier, attribute)
        far = [grey(images, true, task).mean() for images in (change.before, change.after)]
        cells += [f"{moved[own].mean():.1f}", f"{moved[~own].mean():.1f}", f"{far[0]:.1f} → {far[1]:.1f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
        shown = torch.cat([images[:SHOWN] for images in (change.before, change.after, true)])
        panels[f"{name}: {cells[1].split()[-1]} classified as the new value"] = grid(placed(shown, task.levels), SHOWN)
    save_picture(captioned(panels, columns=2, zoom=2), DOCS / "editing_sprites.png")


def report_digits(task: Task, flow: Flow, classifier: Classifier) -> None:
    d, panels = directions(flow, task), {}
    change = changed(flow, task, d, 0)
    print("| new digit | reading | classified as it | change of pixels |\n" + "|---" * 4 + "|")
    for digit in range(-1, task.values):
        rows = torch.arange(EDITED) if digit < 0 else (change.wanted == digit).nonzero().flatten()
        part = Change(*(field[rows] for field in change))
        cells = shares(part, task, classifier, 0)[:2]
        cells += [f"{grey(part.after, part.before, task).mean():.1f}"]
        print(f"| {'any' if digit < 0 else digit} | " + " | ".join(cells) + " |", flush=True)
        if digit >= 0:
            shown = torch.cat([part.before[:SHOWN], part.after[:SHOWN]])
            panels[f"to {digit}: {cells[1].split()[-1]} classified as it"] = grid(placed(shown, task.levels), SHOWN)
    save_picture(captioned(panels, columns=2), DOCS / "editing_digits.png")


def line(task: Task, flow: Flow) -> None:
    """Interpolations between pairs of held-out sprites."""
    x = UniformDequantization(task.levels).encode(task.test[Order(len(task.test), seed=9)[0:10]], keyed(0))[0]
    between = pf.editing.interpolate(flow, x[::2], x[1::2], 9)
    save_picture(captioned({"": grid(between.flatten(0, 1), 9)}, columns=1, zoom=2), DOCS / "editing_line.png")


def by_amount(task: Task, flow: Flow, classifier: Classifier) -> None:
    """The share classified as the new value, and the change of all pixels, by the amount of the edit."""
    d = directions(flow, task)
    print("\n| | " + " | ".join(map(str, AMOUNTS)) + " |\n" + "|---" * (1 + len(AMOUNTS)) + "|")
    for attribute, name in enumerate(task.names):
        changes = [changed(flow, task, d, attribute, amount) for amount in AMOUNTS]
        cells = [
            f"{(classifier.tell(change.after, task.levels)[:, attribute] == change.wanted).float().mean():.1%}, "
            f"{grey(change.after, change.before, task).mean():.1f}"
            for change in changes
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def bits(flow: Flow, task: Task) -> str:
    return str(
        held_out_mean(
            CodedFlow(flow, UniformDequantization(task.levels)), task.test[Order(len(task.test), seed=0)[0:1000]]
        )
    )


def main() -> None:
    for name, task, report, levels, steps in (
        ("sprites", sprite_task(), report_sprites, 3, 2000),
        ("digits", digit_task(), report_digits, 2, 1500),
    ):
        torch.manual_seed(0)
        image = tuple(task.images.shape[1:])
        model = pf.models.Glow(image=image, levels=levels, transforms=8, width=64, coupling="additive")
        flow = learn_flow(name, model.build(), task, steps)
        classifier = learn_classifier(RUNS / f"{name}.pt", task)
        right = (classifier.tell(task.test, task.levels) == task.test_has).double().mean(0)
        listed = ", ".join(f"{share:.2%} of {what}" for what, share in zip(task.names, right.tolist(), strict=True))
        print(f"\n{name}: {bits(flow, task)}; the classifier is correct on {listed}\n", flush=True)
        report(task, flow, classifier)
        by_amount(task, flow, classifier)
        if name == "sprites":
            line(task, flow)


if __name__ == "__main__":
    main()
