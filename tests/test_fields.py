"""The fields of configurations: what users give for numbers, words and tuples of them."""

import copy
import pickle
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from typing import get_type_hints

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.fields import check_types
from pushforward.interop.sklearn import FlowDensity
from pushforward.models import MAF, NSF, Glow, RealNVP, TarFlow
from pushforward.training import Plan
from pushforward.transforms import Circle, Integers, Interval

MODELS = [each for each in vars(pf.models).values() if isinstance(each, type) and is_dataclass(each)]
vectors, plan = partial(RealNVP, features=2), partial(Plan, steps=1)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: Plan(steps=1e3, batch=np.int64(8)), {"steps": 1000, "batch": 8}),
        (lambda: plan(betas=[0.5, np.float32(0.5)], lr=torch.tensor(0.5)), {"betas": (0.5, 0.5), "lr": 0.5}),
        (lambda: plan(clip=None, compiled=np.bool_(True)), {"clip": None, "compiled": True}),
        (lambda: RealNVP(features=2.0, hidden=np.array([8, 8])), {"features": 2, "hidden": (8, 8)}),
        (lambda: Interval(torch.tensor(0.0), np.float32(1)), {"low": 0.0, "high": 1.0}),
        (lambda: Integers(np.uint8(0), 9.0), {"low": 0, "high": 9}),
    ],
)
def test_numbers_of_all_kinds_are_taken_as_pythons_own(made, expected):
    found = asdict(made())
    assert {name: found[name] for name in expected} == expected
    assert [type(found[name]) for name in expected] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: plan(steps="100"), r"Plan takes an integer as steps; got '100'"),
        (lambda: plan(batch=10.5), "takes an integer as batch; got 10.5"),
        (lambda: plan(seed=None), "takes an integer as seed; got None"),
        (lambda: plan(lr=True), "takes a number as lr; got True"),
        (lambda: plan(clip="1"), "takes a number or None as clip; got '1'"),
        (lambda: plan(compiled="no"), "takes True or False as compiled; got 'no'"),
        (lambda: plan(betas=0.9), "takes a tuple of 2 numbers as betas; got 0.9"),
        (lambda: vectors(features="2"), "takes an integer as features; got '2'"),
        (lambda: vectors(hidden=64), "takes a tuple of integers as hidden; got 64"),
        (lambda: vectors(hidden=(0,)).build(), "of width 1 or more"),
        (lambda: vectors(transforms=-1), "none is below 0; got {'transforms': -1}"),
        (lambda: vectors(supports=Interval(0)), "supports is a tuple of transforms.Interval"),
        (lambda: vectors(supports=("positive", "positive")), "supports is a tuple of transforms.Interval"),
        (lambda: TarFlow(image=(8, 8), patch=2), "takes a tuple of 3 integers as image"),
        (lambda: Interval("0"), "takes a number or None as low; got '0'"),
        (lambda: Integers(0.5), "takes an integer or None as low; got 0.5"),
        (lambda: pf.fit(NSF(features=2).build(), torch.randn(50, 2), steps="9"), "takes an integer as steps"),
    ],
)
def test_values_of_other_types_are_refused_by_the_field(made, told):
    with pytest.raises(ValueError, match=told):
        made()


@pytest.mark.parametrize("kind", [Plan, Interval, Circle, Integers, *MODELS])
def test_the_types_of_all_fields_can_be_read(kind):
    assert {field.name for field in fields(kind)} <= get_type_hints(kind).keys()


def test_types_that_only_a_type_checker_reads_are_left_alone():
    @dataclass(frozen=True)
    class Mine:
        x: "Unknown"  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

        def __post_init__(self):
            check_types(self)

    assert Mine([1]).x == (1,)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: MAF(3), "MAF takes its fields by name, features= first; got 3"),
        (lambda: RealNVP(3), "takes features=D for vectors"),
        (lambda: MAF(features=3, hidden_features=8), "it is called hidden"),
        (lambda: Glow(features=3, steps=8), "it is called transforms; steps are of a training"),
        (lambda: RealNVP(features=3, transfroms=8), "it is called transforms"),
        (lambda: RealNVP(image=(1, 8, 8), unknown=8), "there are image, classes"),
        (lambda: FlowDensity(model="nsf").fit(np.zeros((30, 2))), "takes a class of pushforward.models"),
        (lambda: FlowDensity(model=NSF(features=2)).fit(np.zeros((30, 2))), "takes a class of pushforward.models"),
    ],
)
def test_models_say_which_fields_they_have(made, told):
    with pytest.raises(TypeError, match=told):
        made()


@pytest.mark.parametrize(
    "used",
    [
        lambda model: model.sample(2),
        lambda model: model.log_prob(torch.zeros(2)),
        lambda model: pf.fit(model, torch.randn(50, 2)),
        lambda model: pf.fit_density(model, lambda x: -x.square().sum(1)),
        lambda model: pf.evaluation.importance(model, lambda x: -x.square().sum(1)),
        lambda model: pf.save(model, "never"),
    ],
)
def test_a_model_in_the_place_of_its_flow_names_build(used):
    with pytest.raises(AttributeError, match=r"is the configuration of a flow, and has no '\w+'. Its build\(\) makes"):
        used(RealNVP(features=2))


def test_models_are_copied_and_pickled():
    model = RealNVP(features=2, supports=[Interval(0), Interval()])  # pyright: ignore[reportArgumentType]
    assert copy.deepcopy(model) == pickle.loads(pickle.dumps(model)) == model
