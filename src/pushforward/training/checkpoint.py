"""Checkpoints that a training resumes from, and the weights that it releases.

    RUN/checkpoints/step-00001000/    a `State`, by torch.distributed.checkpoint, and the SHA-256 of its files
    RUN/model.safetensors             the weights so far: the average, or the best
    RUN/codec.safetensors             the codec's, where it has any

Each is written atomically: a killed process leaves no partial file.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from pushforward.files import begun_at, remove, replacing
from pushforward.migrations import NEW_NAMES, renamed
from pushforward.training import ranks
from pushforward.training.sharding import full
from pushforward.training.state import OF_CODEC, State

WEIGHTS, CODEC = "model.safetensors", "codec.safetensors"
SUMS, KEPT = "sums.json", 2


class RemovedError(RuntimeError):
    """The folder of a run was removed or replaced while it was trained."""


class Checkpoints:
    """The checkpoints of the run in `folder`. The newest two are kept, and unsound ones until these are newer.

    `held` is that of `alone_in`, in the process that locked the folder; it is asked before a training writes there.
    """

    def __init__(self, folder: str | PathLike[str], *, held: Callable[[], bool] | None = None):
        self.run, self.held = Path(folder), held
        self.folder = self.run / "checkpoints"

    def check(self) -> None:
        """Raise RemovedError, in every process, where the folder was locked and is another one now."""
        if ranks.any_of(self.held is not None and not self.held()):
            raise RemovedError(f"{self.run} was removed or replaced while it was trained.")

    def save(self, state: State) -> None:
        """Write a checkpoint, and the weights so far. Every process takes part; raises OSError where it fails."""
        from torch.distributed.checkpoint.api import CheckpointException  # slow to import, as pushforward is not

        place, first = self.folder / f"step-{state.step:08d}", ranks.rank() == 0
        self.check()
        if place.exists():
            return  # a state is a function of its step
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(place) if first else nullcontext(begun_at(place)) as begun:
                ranks.wait()
                _call("save", state, begun)
                ranks.wait()
                if first:
                    (begun / SUMS).write_text(json.dumps(_sums(begun)))
            self.release(state)
        except (OSError, CheckpointException) as error:
            cause = next(iter(error.failures.values()))[0] if isinstance(error, CheckpointException) else error
            free = shutil.disk_usage(self.run).free / 1e6
            last = max((sound.name for sound in self._places()), default="none")
            raise OSError(
                f"cannot write the checkpoint {place}: {cause}; {free:.1f} MB are free there. The last valid one is "
                f"{last}: free some space and repeat the command, which resumes from there."
            ) from error
        if first:
            for old in self._places()[:-KEPT]:
                remove(old)
            oldest = self._places()[0].name
            for unsound in self.folder.glob("step-*.unsound"):
                if unsound.name < oldest:
                    remove(unsound)
        ranks.wait()

    def restore(self, state: State) -> None:
        """Load the newest valid checkpoint into the state, if there is one. A damaged one is renamed, with a warning
        that names the damaged file."""
        if ranks.rank() == 0:
            self._set_unsound_aside()
        ranks.wait()
        if places := self._places():
            _call("load", state, places[-1])
            self.release(state)

    def release(self, state: State) -> None:
        """Write the weights so far, and those of the codec if it has any. Every process takes part."""
        write_weights(state.result, self.run / WEIGHTS)
        if state.codec is not None:
            write_weights(state.codec, self.run / CODEC)

    def _places(self) -> list[Path]:
        return sorted(self.folder.glob("step-" + "[0-9]" * 8))

    def _set_unsound_aside(self) -> None:
        for left in self.folder.glob(".*"):  # left by a killed process
            remove(left)
        for place in reversed(self._places()):
            fault = _fault(place)
            if fault is None:
                return
            aside = place.with_name(f"{place.name}.unsound")
            remove(aside)
            place.rename(aside)
            warnings.warn(f"{fault}; going back to the checkpoint before it", RuntimeWarning, stacklevel=3)


def write_weights(module: nn.Module, path: Path) -> None:
    """Write the module's weights as safetensors, which has no tensors that share memory. Sharded ones are gathered one
    by one, every process takes part, and the first writes."""
    from safetensors.torch import save

    weights, first = {}, ranks.rank() == 0
    for name, tensor in module.state_dict().items():
        gathered = full(tensor)
        if first:
            weights[name] = gathered.cpu().clone(memory_format=torch.contiguous_format)
    if first:
        with replacing(path) as begun:
            begun.write_bytes(save(weights))


def _fault(place: Path) -> str | None:
    """What is wrong with a checkpoint, naming the file; None where it is valid."""
    try:
        expected = json.loads((place / SUMS).read_text())
    except (OSError, ValueError):
        return f"{place / SUMS} is missing or not readable"
    found = _sums(place)
    broken = [name for name in expected if found.get(name) != expected[name]]
    return f"{place / broken[0]} is truncated or corrupted" if broken else None


def _sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file."""
    sums = {}
    for path in sorted(path for path in folder.iterdir() if path.name != SUMS):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
        sums[path.name] = digest.hexdigest()
    return sums


def _call(verb: Literal["save", "load"], state: State, place: Path) -> None:
    """Save the state, or load into it, by torch.distributed.checkpoint; it works in a single process too."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    tensors, lacking = state.tensors(), False
    if verb == "load":
        saved = FileSystemReader(place).read_metadata().state_dict_metadata
        old = {new: name for name, new in renamed(saved, known=tensors).items()}
        names = [name for name in tensors if name in old or not name.startswith(NEW_NAMES)]
        lacking = any(name.startswith(OF_CODEC) and name not in old for name in tensors)
        tensors = {old.get(name, name): tensors[name] for name in names}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is .*uninitialized")
        warnings.filterwarnings("ignore", "TypedStorage is deprecated")  # torch 2.6's own use of it
        getattr(dcp, verb)(tensors, checkpoint_id=place)
    if lacking:
        state.restart_codec_average()
