"""Every law over every case, and every planted bug against the laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch.utils._pytree import tree_leaves

from pushforward.transforms import Autoregressive
from tests.laws.cases import CASES
from tests.laws.laws import GRADIENT_FREE, LAWS, compiles, compiles_back
from tests.laws.mutants import MUTANTS, WELL, Mutant

AUTOREGRESSIVE = [
    name for name, case in CASES.items() if any(isinstance(m, Autoregressive) for m in case.make().modules())
]


def classes(name: str) -> set[type]:
    """Ours, of the modules of a case and of what they hold."""
    held = [(module, *vars(module).values()) for module in CASES[name].make().modules()]
    return {type(value) for value in tree_leaves(held) if type(value).__module__.startswith("pushforward.")}


def covering() -> Iterator[str]:
    """Few cases that have all classes between them: each has most of those that the ones before it lack."""
    left = {name: classes(name) for name in CASES}
    while name := max(left, key=lambda name: len(left[name])) if any(left.values()) else None:
        yield name
        found = left[name]
        left = {other: has - found for other, has in left.items()}


COMPILED = {compiles: {*covering()}, compiles_back: {"autoregressive/labels"}}  # always; it takes long


def is_slow(name: str, law: Callable) -> bool:
    return CASES[name].slow or name not in COMPILED.get(law, CASES)


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated")  # dynamo's own
@pytest.mark.parametrize(
    ("name", "law"),
    [
        pytest.param(name, law, id=f"{name}-{law.__name__}", marks=[pytest.mark.slow] * is_slow(name, law))
        for name in CASES
        for law in LAWS
    ],
)
def test_law(name, law):
    case = CASES[name]
    if excuse := case.excused.get(law.__name__):
        with pytest.raises(excuse.error, match=excuse.says):  # an excuse no longer needed must go
            law(case)
    else:
        law(case)


@pytest.mark.parametrize("kind", ["tensors", "kernel", "graph"])
@pytest.mark.parametrize("law", GRADIENT_FREE, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", AUTOREGRESSIVE)
def test_law_without_gradients(name, law, kind, allow):
    """Where gradients are not wanted inverses take other paths: sweeps, buffers written in place, kernels, graphs."""
    allow(kind)
    with torch.no_grad():
        law(CASES[name])


def broken(law, case) -> bool:
    try:
        law(case)
    except Exception:
        return True
    return False


QUICK = [law for law in LAWS if law not in COMPILED]


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_bug_is_caught(mutant):
    caught = [law.__name__ for law in QUICK if broken(law, replace(WELL, make=mutant))]
    assert caught
    assert len(caught) < len(QUICK), "it breaks everything: it is not the bug it was meant to be"


def test_the_unbroken_mutant_is_lawful():
    """Else the test above could not fail."""
    assert [law.__name__ for law in QUICK if broken(law, replace(WELL, make=Mutant))] == []


def test_print_excuses(capsys):
    excuses = [f"{name}: {law}: {excuse.why}" for name, case in CASES.items() for law, excuse in case.excused.items()]
    with capsys.disabled():
        print("\nexcused from a law:", *(excuses or ["none"]), sep="\n  ")
    assert all(law in {law.__name__ for law in LAWS} for case in CASES.values() for law in case.excused)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # inductor's own
@pytest.mark.parametrize("name", ["guided/labels"])
@pytest.mark.usefixtures("inductor")
def test_through_inductor(name):
    compiles(CASES[name], backend="inductor", dtype=torch.float32)  # torch 2.8 cannot compile float64 attention
