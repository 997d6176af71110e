"""The log of a training: JSON lines in a folder, and optionally TensorBoard or Weights & Biases; or lines in memory."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from pushforward.files import write
from pushforward.optional import require
from pushforward.training.utilisation import Utilisation

LOG = "log.jsonl"
OF_A_STEP = {"step", "loss", "gradient", "lr", "seconds", "precision", "skipped", "skipped rows"}
BESIDES = OF_A_STEP | {"TFLOP/s", "MFU", "no MFU"}  # what a line has besides its scores

Board = Literal["tensorboard", "wandb"]  # named as their packages and extras are


class History:
    """A log in memory: `lines` is a dict for each logged step."""

    def __init__(self):
        self.lines: list[dict[str, float]] = []

    def rewind(self, step: int) -> None:
        """Remove the lines after `step`."""
        self.lines = [line for line in self.lines if line["step"] <= step]

    def write(self, step: int, numbers: dict[str, float]) -> None:
        self.lines.append({"step": step, **numbers})


class TensorBoard:
    """The log in TensorBoard's files, from a step on."""

    def __init__(self, folder: Path, step: int):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, step)
        self._writer.flush()

    def show(self, step: int, picture: Tensor) -> None:
        self._writer.add_image("samples", picture, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """The log at Weights & Biases, in the project "pushforward"; its environment variables, WANDB_MODE, apply.

    A run that is continued, from a step above 0, is continued there.
    """

    def __init__(self, folder: Path, step: int):
        self._wandb, known = require("wandb", "wandb"), folder / "wandb.txt"
        identifier = known.read_text() if step and known.exists() else None
        self._run = self._wandb.init(
            project="pushforward", name=folder.name, dir=folder, id=identifier, resume="allow", reinit="create_new"
        )
        write(known, self._run.id)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def show(self, step: int, picture: Tensor) -> None:
        pixels = (255 * picture).round().byte().permute(1, 2, 0)
        self._run.log({"samples": self._wandb.Image(pixels.numpy())}, step=step)

    def close(self) -> None:
        self._run.finish()


BOARDS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


class Log:
    """The log of the run in `folder`, one line for each logged step: {"step": 10, "bits/dim": 3.1, …}.

    `boards` are other places that it goes to. With a `utilisation` lines tell the pace of training too: "TFLOP/s" and
    "MFU".
    """

    utilisation: Utilisation | None = None

    def __init__(self, folder: str | PathLike[str], boards: Sequence[Board] = ()):
        self.folder = Path(folder)
        self.path = self.folder / LOG
        if isinstance(boards, str) or not BOARDS.keys() >= set(boards):
            raise ValueError(f"boards are a list of some of {', '.join(BOARDS)}; got {boards!r}.")
        self.boards = boards
        self._begun: list[TensorBoard | WeightsAndBiases] = []
        for board in boards:
            require(board, board)

    def rewind(self, step: int) -> None:
        """Remove the lines after `step`, which will be made again, and a truncated last line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.path, "".join(f"{json.dumps(line)}\n" for line in self.read() if line["step"] <= step))
        self._begun = [BOARDS[board](self.folder, step) for board in self.boards]

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        if self.utilisation and "seconds" in numbers:
            numbers = {**numbers, **self.utilisation(step, numbers["seconds"])}
        try:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, **numbers}) + "\n")
        except OSError as error:
            raise OSError(error.errno, f"cannot write {self.path}, {error.strerror}") from error
        for board in self._begun:
            board.write(step, {name: number for name, number in numbers.items() if isinstance(number, float | int)})

    def show(self, step: int, picture: Tensor) -> None:
        """Show a picture (C, H, W) on [0, 1] where the log goes besides the folder."""
        for board in self._begun:
            board.show(step, picture)

    def close(self) -> None:
        """End what the log goes to besides the folder."""
        for board in self._begun:
            board.close()
        self._begun = []

    def read(self) -> list[dict[str, float]]:
        """The lines so far, oldest first, without a last one of which a part was written."""
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}\n")]
