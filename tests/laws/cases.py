"""One line a transform: every law in laws.py runs over every case here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch

from pushforward.context import Context, Embed, Labels, Unconditional, Vector
from pushforward.moves import (
    Affine,
    CircularSpline,
    Composed,
    Elementwise,
    GaussianMixture,
    LogisticMixture,
    MonotoneNetwork,
    RationalQuadraticSpline,
    Shift,
    SoftClip,
    Tanh,
)
from pushforward.networks import CausalTransformer, Guided, LabelTable, LinearRule, VectorProjection
from pushforward.solve import blockwise, jacobi, one_by_one
from pushforward.transform import Chain, Inverse, Transform
from pushforward.transforms import Autoregressive, Flip, Patchify, Reordered

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.5}  # bf16 networks: a few digits
TOKENS, FEATURES, WIDTH = 4, 2, 8


@dataclass(frozen=True)
class Case:
    make: Callable[[], Transform]
    event: tuple[int, ...] = (TOKENS, FEATURES)
    latent: tuple[int, ...] = (TOKENS, FEATURES)
    embed: Embed = field(default_factory=Unconditional)
    excused: dict[str, str] = field(default_factory=dict)  # law -> why it does not hold

    def build(self, dtype: torch.dtype = torch.float64) -> Transform:
        """The transform with random parameters that are far from zero."""
        torch.manual_seed(0)
        transform = self.make()
        with torch.no_grad():
            for parameter in transform.parameters():
                parameter.normal_(std=0.2)
        return transform.to(dtype)

    def context(self, n: int, seed: int = 0) -> Context | None:
        """n rows of context, the last of them null."""
        if isinstance(self.embed, Labels):
            given = (torch.arange(n) + seed) % self.embed.classes
        elif isinstance(self.embed, Vector):
            given = torch.randn(n, self.embed.features, generator=torch.Generator().manual_seed(seed))
        else:
            return None
        return self.embed(given).drop(torch.arange(n) == n - 1)

    def x(self, n: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> torch.Tensor:
        return torch.randn(n, *self.event, generator=torch.Generator().manual_seed(seed)).to(dtype)

    def z(self, n: int, dtype: torch.dtype = torch.float64, seed: int = 2) -> torch.Tensor:
        return torch.randn(n, *self.latent, generator=torch.Generator().manual_seed(seed)).to(dtype)


LABELS, VECTOR = Labels(3), Vector(5)
BLOCKS = partial(blockwise, size=2)
SWEEPS = {"stays_on_its_device": "without gradients sweeps end when tokens have settled, which asks for values"}


def network(move: Elementwise, embed: Embed, tokens: int = TOKENS) -> CausalTransformer:
    project = {LABELS: partial(LabelTable, 3, WIDTH), VECTOR: partial(VectorProjection, 5, WIDTH)}.get(embed)
    return CausalTransformer(
        FEATURES, move.raw_shape(FEATURES), tokens=tokens, width=WIDTH, depth=2, heads=2, project=project and project()
    )


def autoregressive(move: Elementwise = Affine(), embed: Embed = Unconditional(), **options) -> Autoregressive:
    return Autoregressive(network(move, embed), move, **options)


def short(move: Elementwise) -> Case:
    """An autoregressive step of two tokens, for moves that take long to trace."""
    event = (2, FEATURES)
    return Case(lambda: Autoregressive(network(move, Unconditional(), tokens=2), move), event=event, latent=event)


def guided(move: Elementwise, embed: Embed, temperature: float, rule: LinearRule) -> Autoregressive:
    return Autoregressive(Guided(network(move, embed), move, rule, attention_temperature=temperature), Affine())


CASES = {
    "flip": Case(Flip),
    "patchify": Case(partial(Patchify, (1, 4, 6), 2), event=(1, 4, 6), latent=(6, 4)),
    "autoregressive/affine": Case(autoregressive),
    "autoregressive/shift": Case(partial(autoregressive, Shift())),
    "autoregressive/bounded": Case(partial(autoregressive, Affine(SoftClip()))),
    "autoregressive/spline": Case(partial(autoregressive, RationalQuadraticSpline())),
    "autoregressive/circular": Case(partial(autoregressive, CircularSpline())),
    "autoregressive/composed": Case(partial(autoregressive, Composed(Shift(), Affine(Tanh())))),
    "autoregressive/logistic mixture": short(LogisticMixture(3)),
    "autoregressive/gaussian mixture": short(GaussianMixture(3)),
    "autoregressive/monotone": short(MonotoneNetwork(3)),
    "autoregressive/labels": Case(partial(autoregressive, embed=LABELS), embed=LABELS),
    "autoregressive/vector": Case(partial(autoregressive, embed=VECTOR), embed=VECTOR),
    "autoregressive/one by one": Case(partial(autoregressive, solve=one_by_one)),
    "autoregressive/jacobi": Case(partial(autoregressive, solve=jacobi), excused=SWEEPS),
    "autoregressive/blockwise": Case(partial(autoregressive, embed=LABELS, solve=BLOCKS), embed=LABELS, excused=SWEEPS),
    "guided/labels": Case(partial(guided, Affine(), LABELS, 1.0, LinearRule(0.7)), embed=LABELS),
    "guided/attention": Case(partial(guided, Affine(), Unconditional(), 0.5, LinearRule(0.7, "mean", "linear"))),
    "guided/both": Case(partial(guided, Affine(), LABELS, 0.5, LinearRule(0.7, "scale", "linear")), embed=LABELS),
    "guided/shift": Case(partial(guided, Shift(), LABELS, 1.0, LinearRule(0.7)), embed=LABELS),
    "reordered": Case(lambda: Reordered(Flip(), autoregressive())),
    "inverse": Case(lambda: Inverse(autoregressive(embed=LABELS)), embed=LABELS),
    "chain": Case(
        lambda: Chain(
            Patchify((1, 4, 4), 2),
            Autoregressive(CausalTransformer(4, (4, 2), tokens=4, width=WIDTH, depth=1), Affine()),
            Chain(Flip(), Autoregressive(CausalTransformer(4, (4, 1), tokens=4, width=WIDTH, depth=1), Shift())),
        ),
        event=(1, 4, 4),
        latent=(4, 4),
    ),
}
