"""Model FLOPs: the operations that a step of training needs, and which part they are of what the device could do (MFU).

    MFU = operations a second / operations a second of the products of large matrices

Counted are products, convolutions and attention, forward and back; causal attention at half of its square. What is
computed again to save memory is not counted. Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, appendix B.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pushforward.data import Data
from pushforward.objectives import Objective
from pushforward.randomness import Keyed
from pushforward.training import ranks
from pushforward.training.plan import Plan
from pushforward.training.precision import float32_by

Operations = Counter[torch.dtype]  # by the dtype in which they are done
KINDS = ("flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu")


class Products(TorchDispatchMode):
    """Counts the operations of matrix products, convolutions and fused attention, by the dtype of their results.

    What runs in it must run eagerly: a compiled function or a replayed graph shows no operation.
    """

    def __init__(self):
        super().__init__()
        self.operations: Operations = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        if func._overloadpacket in ATTENTION:
            named = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False))
            count = _attention(named | (kwargs or {}))
        elif counted := flop_registry.get(func._overloadpacket):
            count = counted(*args, **(kwargs or {}), out_val=results)
        else:
            return results
        made = results if isinstance(results, tuple) else (results,)
        self.operations[next(t.dtype for t in made if t is not None)] += count  # no gradient where none is needed
        return results


ATTENTION = {getattr(torch.ops.aten, f"_scaled_dot_product_{kind}{way}") for kind in KINDS for way in ("", "_backward")}


def _attention(given: dict[str, Any]) -> int:
    """Two products of queries (B, H, T, W/H) forward, five back; if causal, of half of the square each."""
    batch, heads, tokens, width = given["query"].shape
    products = 5 if "grad_out" in given or "grad_out_" in given else 2
    square = batch * heads * tokens * given["key"].shape[-2] * width
    return products * square if given.get("is_causal") else 2 * products * square


def operations_of(task: Callable[[], object]) -> Operations:
    """The operations of a task."""
    with Products() as counting:
        task()
    return counting.operations


def precision_of(operations: Operations) -> torch.dtype | None:
    """The dtype of all operations but one in a hundred; None where there is none: no single rate is then the limit."""
    dtype, most = max(operations.items(), key=lambda item: item[1], default=(None, 0))
    return dtype if most >= 0.99 * operations.total() else None


def operations_of_step(objective: Objective, data: Data, plan: Plan) -> Operations:
    """The operations of a step in this process: of two rows and of one, forward and back, as many times as it has rows.

    Weights and gradients are as before. Where weights are sharded every process must call this.
    """
    device, dtype = objective.flow.device, plan.dtype_on(objective.flow.device)
    given = pytree.tree_map_only(Tensor, lambda t: t.to(device), data.fetch([0, 1 % len(data)]))

    def passed(rows: int) -> Operations:
        moved = pytree.tree_map_only(Tensor, lambda t: t[:rows], given)
        noise = Keyed(plan.seed, 0, rows=range(rows))

        def task() -> None:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                loss, _ = objective(*moved, noise)
            loss.backward()

        found = operations_of(task)
        objective.zero_grad()
        return found

    one, two = passed(1), passed(2)
    more = plan.batch // ranks.size() - 1
    return Counter({dtype: n + more * (two[dtype] - n) for dtype, n in one.items()})


class Utilisation:
    """What the lines of a training's log say of its pace: TFLOP/s of this process's device, and MFU.

    MFU is refused where operations are of several precisions, which have different rates.
    """

    def __init__(self, operations: Operations, device: torch.device, *, tf32: bool = False):
        self.operations, self.device, self.tf32 = operations, device, tf32
        self._before: tuple[int, float] | None = None  # steps and their seconds at the line before

    def __call__(self, step: int, seconds: float) -> dict[str, float | str]:
        """For the line after so many steps, which took so many seconds: since the line before, so none for the first,
        where steps are recorded and compiled."""
        before, self._before = self._before, (step, seconds)
        dtype, total = precision_of(self.operations), self.operations.total()
        if before is None or not total or seconds <= before[1]:
            mixed = before is None and total and dtype is None
            return {"no MFU": f"operations are in {', '.join(map(_name, self.operations))}"} if mixed else {}
        rate = (step - before[0]) * total / (seconds - before[1])
        numbers: dict[str, float | str] = {"TFLOP/s": float(f"{rate / 1e12:.4g}")}
        if dtype is not None:
            numbers["MFU"] = float(f"{rate / matrix_rate(self.device, dtype, self.tf32):.4g}")
        return numbers


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@cache
def matrix_rate(device: torch.device, dtype: torch.dtype, tf32: bool) -> float:
    """Operations a second of the products of large matrices here: the best of six."""
    side, times = (1024, 1) if device.type == "cpu" else (4096, 10)  # small: training may leave little memory
    a = torch.ones(side, side, device=device, dtype=dtype)
    product = torch.empty_like(a)

    def seconds() -> float:
        started = time.perf_counter()
        for _ in range(times):
            torch.mm(a, a, out=product)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return (time.perf_counter() - started) / times

    with float32_by(tf32=tf32):
        return 2 * side**3 / min(seconds() for _ in range(6))
