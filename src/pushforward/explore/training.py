"""A training as it goes: its scores so far, how far it is, and the samples that it drew last."""

import base64
import json
from os import PathLike
from pathlib import Path
from typing import Any

from pushforward.explore.expected import expected
from pushforward.recipe import Recipe
from pushforward.runs.folder import CARD, folder_of
from pushforward.runs.plotting import history
from pushforward.training.log import LOG

PARTS = 240  # points of a curve
END = b"IEND\xaeB`\x82"  # of a PNG


class Training:
    """The log of a run. What is new in it is read when it is asked for."""

    def __init__(self, run: str | PathLike[str], recipe: Recipe):
        self.folder, self.steps, self.expected = folder_of(run), recipe.train.steps, expected(recipe)
        self.lines: list[dict[str, Any]] = []
        self.last, self.read = b"", 0  # the last line that was read, and the bytes up to its end

    def so_far(self, seen: str = "") -> dict[str, Any]:
        """The curve in its unit, what its last line says, and the last picture of samples, where it is not `seen`.

        A point of `curve` is the last step of some lines, and their mean, least and largest score. Raises ValueError
        where nothing is logged yet.
        """
        self._read_on()
        scores, unit, of_held_out = history(self.lines)
        recent = self.lines[-max(2, len(self.lines) // 10) :]
        first, last = recent[0], recent[-1]
        pace = (last["seconds"] - first["seconds"]) / max(1, last["step"] - first["step"])
        return {
            "unit": unit,
            "step": last["step"],
            "steps": self.steps,
            "expected": self.expected,
            "ended": self._ended(),
            "left": max(0, self.steps - last["step"]) * pace,  # seconds
            "pace": pace,
            "gradient": last["gradient"],
            "lr": last["lr"],
            "curve": _thinned([(step, score) for step, score, _ in scores]),
            "held_out": [(step, score) for step, _, score in scores if score is not None and of_held_out == unit],
            **self._picture(seen),
        }

    def _ended(self) -> bool:
        """Whether the card is newer than the log: a training writes it at its end."""
        card = self.folder / CARD
        return card.exists() and card.stat().st_mtime >= (self.folder / LOG).stat().st_mtime

    def _read_on(self) -> None:
        """Read the lines that are new, or all where the last line that was read is no longer in its place: a run that
        is continued from an earlier step, or trained anew, has another log."""
        path = self.folder / LOG
        new = _since(path, self.read - len(self.last))
        if not new.startswith(self.last):
            self.lines, self.read, self.last = [], 0, b""
            new = _since(path, 0)
        lines = new[len(self.last) : new.rfind(b"\n") + 1].splitlines(keepends=True)
        self.lines += [json.loads(line) for line in lines]
        self.read += sum(map(len, lines))
        self.last = lines[-1] if lines else self.last

    def _picture(self, seen: str) -> dict[str, str]:
        newest = max((self.folder / "pictures").glob("step-*.png"), default=None)
        if newest is None or newest.name == seen:
            return {"picture": newest.name if newest else ""}
        picture = newest.read_bytes()
        if not picture.endswith(END):
            return {"picture": seen}  # it is being written
        return {"picture": newest.name, "samples": "data:image/png;base64," + base64.b64encode(picture).decode()}


def _since(path: Path, start: int) -> bytes:
    """What a file holds from a byte on; nothing where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""


def _thinned(scores: list[tuple[int, float]]) -> list[tuple[int, float, float, float]]:
    """The last step of some neighbours, their mean, and their ends."""
    each = -(-len(scores) // PARTS)
    parts = [scores[i : i + each] for i in range(0, len(scores), each)]
    found = []
    for part in parts:
        values = [score for _, score in part]
        found.append((part[-1][0], sum(values) / len(values), min(values), max(values)))
    return found
