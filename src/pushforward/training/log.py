"""The log of a training: JSON lines in a folder, and optionally TensorBoard; or lines in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from pushforward.files import write
from pushforward.optional import require
from pushforward.training.utilisation import Utilisation

LOG = "log.jsonl"


class History:
    """A log in memory: `lines` is a dict for each logged step."""

    def __init__(self):
        self.lines: list[dict[str, float]] = []

    def rewind(self, step: int) -> None:
        """Remove the lines after `step`."""
        self.lines = [line for line in self.lines if line["step"] <= step]

    def write(self, step: int, numbers: dict[str, float]) -> None:
        self.lines.append({"step": step, **numbers})


class Log:
    """The log of the run in `folder`, one line for each logged step: {"step": 10, "bits/dim": 3.1, …}.

    With a `utilisation` lines tell the pace of training too: "TFLOP/s" and "MFU".
    """

    utilisation: Utilisation | None = None

    def __init__(self, folder: str | PathLike[str], *, tensorboard: bool = False):
        self.folder = Path(folder)
        self.path = self.folder / LOG
        self.tensorboard = tensorboard
        self._writer = None
        if tensorboard:
            require("tensorboard", "tensorboard")

    def rewind(self, step: int) -> None:
        """Remove the lines after `step`, which will be made again, and a truncated last line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        whole = [line for line in lines if line.endswith("}\n")]
        write(self.path, "".join(line for line in whole if json.loads(line)["step"] <= step))
        if self.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(self.folder / "tensorboard", purge_step=step + 1)

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        if self.utilisation and "seconds" in numbers:
            numbers = {**numbers, **self.utilisation(step, numbers["seconds"])}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        if self._writer:
            for name, number in numbers.items():
                if isinstance(number, float | int):
                    self._writer.add_scalar(name, number, step)
            self._writer.flush()

    def show(self, step: int, picture: Tensor) -> None:
        """Show a picture (C, H, W) on [0, 1] in TensorBoard, where it is on."""
        if self._writer:
            self._writer.add_image("samples", picture, step)

    def read(self) -> list[dict[str, float]]:
        """The lines so far, oldest first."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []
