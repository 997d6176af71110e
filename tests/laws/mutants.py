"""Bugs that were made before, ours or others', planted one at a time. Each must break a law.

A mutant is an autoregressive step conditioned on labels, right but for the one thing its name says.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import nn

from pushforward.conditions import Condition, drop
from pushforward.moves import Affine
from pushforward.transform import Transform
from tests.laws.cases import CASES, LABELS, autoregressive

WELL = replace(CASES["autoregressive/labels"])


class Mutant(Transform):
    """Both doors of a right step, to be broken by a subclass."""

    def __init__(self):
        super().__init__()
        self.step = autoregressive(conditions=LABELS)

    def forward(self, x, context=None):
        return self.step(x, context)

    def inverse(self, z, context=None):
        return self.step.inverse(z, context)


class SignFlipped(Mutant):
    def forward(self, x, context=None):
        z, log_det = self.step(x, context)
        return z, -log_det

    def inverse(self, z, context=None):
        x, log_det = self.step.inverse(z, context)
        return x, -log_det


class MeanLogDet(Mutant):
    def forward(self, x, context=None):
        z, log_det = self.step(x, context)
        return z, log_det / x[0].numel()

    def inverse(self, z, context=None):
        x, log_det = self.step.inverse(z, context)
        return x, log_det / z[0].numel()


class InverseLogDetOfForward(Mutant):
    def inverse(self, z, context=None):
        x, log_det = self.step.inverse(z, context)
        return x, -log_det


class LastTokenForgotten(Mutant):
    def forward(self, x, context=None):
        z, slopes = self.step.slopes(x, context)
        return z, slopes[:, :-1].flatten(1).sum(1)


class LogDetOfTheFirstRow(Mutant):
    def forward(self, x, context=None):
        z, log_det = self.step(x, context)
        return z, log_det[:1].expand(len(x))


class LogDetSummedOverTheBatch(Mutant):
    def forward(self, x, context=None):
        z, log_det = self.step(x, context)
        return z, log_det.sum()


class HalfPrecisionLogDet(Mutant):
    def forward(self, x, context=None):
        z, log_det = self.step(x, context)
        return z, log_det.to(x.dtype)


class AlwaysFloat32(Mutant):
    def forward(self, x, context=None):
        z, log_det = self.step(x.float(), context)
        return z, log_det

    def inverse(self, z, context=None):
        x, log_det = self.step.inverse(z.float(), context)
        return x, log_det


class OverwritesItsInput(Mutant):
    def inverse(self, z, context=None):
        x, log_det = self.step.inverse(z, context)
        with torch.no_grad():
            z.copy_(x)
        return x, log_det


class NullIsTheLastClassInSampling(Mutant):
    def inverse(self, z, context=None):
        value, null, _ = context["label"]
        label = Condition(torch.where(null, LABELS["label"].classes - 1, value), torch.zeros_like(null))
        return self.step.inverse(z, {"label": label})


class ContextIgnored(Mutant):
    def forward(self, x, context=None):
        return self.step(x, drop(context, ~context["label"].null))

    def inverse(self, z, context=None):
        return self.step.inverse(z, drop(context, ~context["label"].null))


class RemembersTheFirstBatch(Mutant):
    seen = None

    def forward(self, x, context=None):
        self.seen = self.seen or len(x)
        return self.step(x, context)

    def inverse(self, z, context=None):
        assert self.seen in (None, len(z))
        return self.step.inverse(z, context)


class NeedsForwardFirst(Mutant):
    def forward(self, x, context=None):
        self.shape = x.shape
        return self.step(x, context)

    def inverse(self, z, context=None):
        return self.step.inverse(z.reshape(-1, *self.shape[1:]), context)


class RunningStatistics(Mutant):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, x, context=None):
        z, log_det = self.step(x / self.scale, context)
        log_det = log_det - x[0].numel() * self.scale.log()
        self.scale.data = 0.9 * self.scale.data.abs() + 0.1
        return z, log_det

    def inverse(self, z, context=None):
        x, log_det = self.step.inverse(z, context)
        return x * self.scale, log_det + z[0].numel() * self.scale.log()


class BatchStatistics(Mutant):
    def forward(self, x, context=None):
        z, log_det = self.step(x, context)
        return z + 0 * z.mean(0), log_det + 1e-3 * x.mean()


class DetachedScale(Mutant):
    class Move(Affine):
        def forward(self, x, raw):
            return super().forward(x, torch.stack([raw[..., 0].detach(), raw[..., 1]], -1))

    def __init__(self):
        super().__init__()
        self.step.move = self.Move()


class UnusedParameter(Mutant):
    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(3))


class StoredMask(Mutant):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(4, 4).tril())


class DependsOnTheData(Mutant):
    def forward(self, x, context=None):
        return self.step(x, context if context["label"].null.any() else context)


class MadeFromNumpy(Mutant):
    def __init__(self):
        super().__init__()
        self.step.net.positions.weight = nn.Parameter(torch.from_numpy(torch.zeros(4, 8, device="cpu").numpy()))


class CannotBeCopied(Mutant):
    def __init__(self):
        super().__init__()
        self.counter = (i for i in range(3))


class CopySharesItsWeights(Mutant):
    def __deepcopy__(self, memo):
        return copy.copy(self)


class PrintsItsAddress(Mutant):
    def extra_repr(self):
        return object.__repr__(self)


class NoGradientBack(Mutant):
    def inverse(self, z, context=None):
        with torch.no_grad():
            x, log_det = self.step.inverse(z, context)
        return x + (z - z.detach()), log_det


class TwoAnswers(Mutant):
    def inverse(self, z, context=None):
        if torch.is_grad_enabled():
            return self.step.inverse(z, context)
        x, log_det = self.step.inverse(z + 1e-3, context)
        return x, log_det


class SeesItself(Mutant):
    def forward(self, x, context=None):
        z, log_slopes = self.step.move.forward(x, self.step.net(x.roll(-1, 1), context))
        return z, log_slopes.flatten(1).sum(1)


class SaysThatItIsCausal(Mutant):
    causal = True

    def forward(self, x, context=None):
        z, log_det = self.step(x.flip(1), context)
        return z.flip(1), log_det

    def inverse(self, z, context=None):
        x, log_det = self.step.inverse(z.flip(1), context)
        return x.flip(1), log_det


class SaysThatLatentsAreFlat(Mutant):
    def latent_shape(self, event):
        return (math.prod(event),)


MUTANTS = Mutant.__subclasses__()
