"""Numbers that users give, such as deviations, temperatures and weights, are checked where they come in."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import pushforward as pf
import pushforward.demo
from pushforward import codecs, denoising, editing, evaluation, guidance, objectives, solve
from pushforward.arrays import check_number
from pushforward.bases import ObservedNormal, StandardNormal
from pushforward.conditions import NoiseLevel
from pushforward.data import Arrays
from pushforward.moves import (
    Affine,
    Categorical,
    CircularSpline,
    Histogram,
    MonotoneNetwork,
    RationalQuadraticSpline,
    Sigmoid,
    SoftClip,
    Tanh,
    Tempered,
)
from pushforward.moves.mixd import Gaussians
from pushforward.networks.contractive import ContractiveMLP
from pushforward.sampling import Sampling
from pushforward.transforms.supports import Circle, Interval
from tests.toys import randomised

X = torch.randn(3, 2)
NETS = nn.Identity(), nn.Identity()
LABELLED = randomised(pf.models.MAF(features=2, classes=3, transforms=1, hidden=(8,)).build())
CODED = codecs.CodedFlow(LABELLED, codecs.Identity())
PLAIN = randomised(pf.models.MAF(features=2, transforms=1, hidden=(8,)).build())


def plan(**given):
    return pf.training.Plan(steps=1, **given)


POSITIVE = {
    "flow.denoise": lambda v: PLAIN.denoise(X, v),
    "flow.denoise, of each row": lambda v: PLAIN.denoise(X, torch.tensor([0.1, v, 0.1])),
    "GaussianNoise": lambda v: codecs.GaussianNoise(256, v),
    "TokenCodebook": lambda v: codecs.TokenCodebook(vocabulary=5, features=2, sigma=v),
    "Autoencoder": lambda v: codecs.FrozenAutoencoder(*NETS, sigma=v),
    "TrainedAutoencoder": lambda v: codecs.TrainedAutoencoder(image=(1, 8, 8), latent=1, width=4, sigma=v).build(),
    "ClipAutoencoder": lambda v: codecs.ClipAutoencoder(later=v),
    "NoiseLevel": lambda v: NoiseLevel(v, 1.0),
    "NoiseLevel, the highest": lambda v: NoiseLevel(0.1, v),
    "Iterative": lambda v: denoising.Iterative(low=v),
    "Learned": lambda v: denoising.Learned(NETS[0], step=v),
    "guided, attention": lambda v: LABELLED.guided(1.0, attention_temperature=v),
    "Sampling, attention": lambda v: Sampling(attention_temperature=v),
    "Tempered": lambda v: Tempered(Categorical(2), v),
    "Langevin": lambda v: editing.Langevin(v),
    "Plan.lr": lambda v: plan(lr=v),
    "Plan.clip": lambda v: plan(clip=v),
    "Plan.skip_above": lambda v: plan(skip_above=v),
    "Plan.steps": lambda v: pf.training.Plan(steps=v),
    "Plan.batch": lambda v: plan(batch=v),
    "precision_recall": lambda v: evaluation.precision_recall(X, X, neighbours=1, chunk=v),
    "held_out_mean": lambda v: evaluation.held_out_mean(CODED, X, batch=v),
    "held_out_mean, samples": lambda v: evaluation.held_out_mean(CODED, X, samples=v),
    "check_calibration": lambda v: evaluation.check_calibration(PLAIN, X, batch=v),
    "features": lambda v: evaluation.Extractor(nn.Flatten(), name="pixels")(torch.zeros(2, 1, 4, 4), batch=v),
    "classify": lambda v: CODED.classify(X, batch=v),
    "Annealing": lambda v: objectives.Annealing(width=v),
    "Annealing, share": lambda v: objectives.Annealing(share=v),
    "SemidiscreteOT": lambda v: objectives.SemidiscreteOT(rate=v),
    "ObservedNormal": lambda v: ObservedNormal(2, rate=v),
    "Dopri5": lambda v: solve.Dopri5(rtol=v),
    "Tanh": Tanh,
    "SoftClip": SoftClip,
    "Sigmoid": lambda v: Sigmoid(0, v),
    "Affine": lambda v: Affine(soft_clip=v),
    "Spline": lambda v: RationalQuadraticSpline(bound=v),
    "CircularSpline": lambda v: CircularSpline(contrast=v),
    "Histogram": lambda v: Histogram(bound=v),
    "MonotoneNetwork": lambda v: MonotoneNetwork(contrast=v),
    "Gaussians": lambda v: Gaussians(3, 2, scale=v),
    "ContractiveMLP": lambda v: ContractiveMLP(2, limit=v),
    "Interval": lambda v: Interval(0, v),
    "Circle": lambda v: Circle(0, v),
    "demo": pf.demo.recipe,
}
FROM_ZERO = {
    "flow.sample": lambda v: PLAIN.sample(3, temperature=v),
    "base.sample": lambda v: StandardNormal(2).sample(3, temperature=v),
    "interpolate": lambda v: editing.interpolate(PLAIN, X, X, 3, temperature=v),
    "Sampling": lambda v: Sampling(temperature=v),
    "Sampling, guidance": lambda v: Sampling(guidance=v),
    "Plan.weight_decay": lambda v: plan(weight_decay=v),
    "Plan.betas": lambda v: plan(betas=(v, 0.9)),
    "Plan.average_decay": lambda v: plan(average_decay=v),
    "dropout": lambda v: objectives.MaximumLikelihood(condition_dropout=v),
    "dropout of one": lambda v: objectives.MaximumLikelihood(condition_dropout=(("text", v),)),
    "LatentNorm": lambda v: objectives.LatentNorm(weight=v),
    "kinetic": lambda v: objectives.ContinuousLikelihood(kinetic=v),
    "text_weight": lambda v: objectives.DocumentStages(text_weight=v),
    "split": lambda v: Arrays(torch.zeros(100, 1)).split(v),
    "jacobi": lambda v: PLAIN.sample(3, solve=lambda *given: solve.jacobi(*given, tolerance=v)),
    "prior": lambda v: LABELLED.classify(X, prior=[0.5, v, 0.5]),
}
ANY = {
    "guided": LABELLED.guided,
    "guided by a product": lambda v: LABELLED.guided(v, rule=guidance.GaussianProduct()),
    "edit": lambda v: editing.edit(PLAIN, X, torch.ones(2), v),
    "Sigmoid, offset": lambda v: Sigmoid(0, 1, offset=v),
}
CASES = [
    pytest.param(call, wrong, id=f"{name}-{wrong}")
    for cases, more in ((POSITIVE, (0.0, -0.5)), (FROM_ZERO, (-0.5,)), (ANY, ()))
    for name, call in cases.items()
    for wrong in (math.nan, math.inf, -math.inf, *more)
]


@pytest.mark.parametrize(("call", "wrong"), CASES)
def test_a_number_out_of_range_is_refused_and_told(call, wrong):
    with pytest.raises(ValueError, match="finite|between increasing knots|takes an integer") as told:
        call(wrong)
    assert f"{wrong:g}" in str(told.value)


@pytest.mark.parametrize("prior", [[0, 0, 0], [0.5, 0.5], 0.5, [[1, 1, 1]]])
def test_a_prior_has_a_weight_for_each_class_and_one_above_zero(prior):
    with pytest.raises(ValueError, match="a prior has a finite weight of at least 0 for each of 3 classes"):
        LABELLED.class_log_probs(X, prior=prior)


def test_a_class_may_have_a_prior_of_zero():
    assert (LABELLED.classify(X, prior=[0, 0, 2]) == 2).all()


@pytest.mark.parametrize("wrong", ["0.5", None, 1j, [0.5, 0.5], np.array([0.5, 0.5]), torch.ones(2)])
def test_what_is_no_single_number_is_refused(wrong):
    with pytest.raises(ValueError, match="sigma is a finite number above 0; got"):
        check_number(wrong, "sigma", above=0)


def test_a_sigma_for_other_rows_is_refused():
    with pytest.raises(ValueError, match=r"one for each, \(3,\); it is of shape \(2,\)"):
        PLAIN.denoise(X, [0.1, 0.2])
