"""Data-parallel processes: those that torchrun started, or a single one.

    torchrun --nproc-per-node 2 --no-python pushforward train mnist --out runs/mnist

Each process has an equal share of every batch, and the whole flow, or a share of its weights (`sharding`); gradients
are averaged. With a single process these functions do nothing, so the training loop is the same.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Join the process group that torchrun started, and leave it at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL uses the present device
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def chosen(device: str = "auto") -> torch.device:
    """The device of this name; "auto": this process's GPU if there is one, else the CPU.

    Raises ValueError where this machine, or this build of torch, does not have it.
    """
    if device != "auto":
        try:
            found = torch.device(device)
            torch.empty(0, device=found)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            why = str(error).splitlines()[0]
            raise ValueError(
                f"there is no device {device!r} here: {why}. Give cpu, cuda, mps, or auto for the best there is."
            ) from None
        return found
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of the processes this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(rows: int) -> slice:
    """This process's rows of a batch."""
    each, rest = divmod(rows, size())
    if rest:
        raise ValueError(
            f"{size()} processes cannot share {rows} rows equally. Choose a batch size that is a multiple."
        )
    return slice(rank() * each, (rank() + 1) * each)


def wait() -> None:
    """Wait until every process has called this."""
    if dist.is_initialized():
        dist.barrier()


def average(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the processes."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor /= size()


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by that of the first process."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if not dist.is_initialized():
        return flag
    flags = torch.tensor(int(flag), device="cpu")
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


def from_first(numbers: Sequence[float]) -> list[float]:
    """Broadcast numbers from the first process to all."""
    if not dist.is_initialized():
        return list(numbers)
    shared = torch.tensor(numbers, dtype=torch.float64, device="cpu")
    dist.broadcast(shared, 0)
    return shared.tolist()


def wrapped(objective: nn.Module) -> nn.Module:
    """The objective, wrapped so that gradients are averaged over the processes."""
    return DistributedDataParallel(objective) if dist.is_initialized() else objective


def apart(wrapped: nn.Module) -> AbstractContextManager:
    """A context in which each process accumulates its gradients without averaging them."""
    return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()
