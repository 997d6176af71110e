"""One line a transform: every law in laws.py runs over every case here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch._dynamo.exc import Unsupported

from pushforward import conditions
from pushforward.conditions import Context, Image, Kind, Label, Number, Text, TokenIds, Vector
from pushforward.graphed import Graphed
from pushforward.guidance import GaussianProduct, Linear, Rule
from pushforward.moves import (
    Affine,
    CircularSpline,
    Composed,
    Concatenated,
    Elementwise,
    GaussianMixture,
    Gaussians,
    Histogram,
    LogisticMixture,
    Mix1,
    MixD,
    MonotoneNetwork,
    Move,
    RationalQuadraticSpline,
    Shift,
    Sigmoid,
    SoftClip,
    Softplus,
    Tanh,
)
from pushforward.networks import (
    MLP,
    CausalTransformer,
    Constant,
    ContractiveMLP,
    ConvNet,
    FrozenLanguageModel,
    GatedAttentionNet,
    Guided,
    GuidedVelocity,
    LabelEmbedding,
    LabelPrefix,
    LanguageModelSizes,
    LanguageStream,
    LayerOptions,
    Learned,
    MaskedMLP,
    NumberPrefix,
    Positions,
    Prefixes,
    PrefixTransformer,
    ResNet,
    Rotary,
    ScaledRotary,
    TextPrefix,
    TwoStreams,
    VectorEmbedding,
    VelocityMLP,
    VelocityViT,
    ViT,
)
from pushforward.solve import RK4, Hutchinson, Solve, blockwise_jacobi, jacobi, sequential
from pushforward.transform import Chain, Inverse, Transform
from pushforward.transforms import (
    LU,
    ActNorm,
    Autoregressive,
    BatchNorm,
    Circle,
    ConditionalAffine,
    Continuous,
    Coupling,
    Flip,
    Framewise,
    Gridded,
    InSequence,
    Integers,
    Interval,
    Masked,
    Matrix,
    MultiScale,
    Patchify,
    Permuted,
    Regression,
    Regroup,
    Residual,
    Reversible,
    Rotation,
    Roulette,
    Split,
    Squeeze,
    Unconstrain,
    Unpatchify,
    alternating,
    checkerboard,
    columns,
    halves,
    numbered,
    rotation,
    scattered,
    shuffled,
    whole_tokens,
    within_tokens,
)

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.5}  # bf16 networks: a few digits
TOKENS, FEATURES, WIDTH = 4, 2, 8


def from_data(transform: Transform) -> set[str]:
    """The names of what is initialised from data, not learned, and saved all the same."""
    parts = {name: part for name, part in transform.named_modules() if hasattr(part, "initialize_from")}
    return {f"{name}.{of}".strip(".") for name, part in parts.items() for of, _ in part.named_buffers(recurse=False)}


class Excuse(NamedTuple):
    """Why a law does not hold for a case, and what the law raises there: with another error it fails."""

    error: type[Exception]
    why: str
    says: str | None = None  # what the error's message contains, as a regular expression


@dataclass(frozen=True)
class Case:
    make: Callable[[], Transform]
    event: tuple[int, ...] = (TOKENS, FEATURES)
    latent: tuple[int, ...] = (TOKENS, FEATURES)
    conditions: Mapping[str, Kind] = field(default_factory=dict)
    open: tuple[int | None, ...] | None = None  # the event of a flow of it, where that has open axes
    excused: dict[str, Excuse] = field(default_factory=dict)  # by the name of the law
    slow: bool = False  # whether laws take long for it

    def build(self, dtype: torch.dtype = torch.float64) -> Transform:
        """The transform with random parameters that are far from zero."""
        torch.manual_seed(0)
        transform = self.make()
        with torch.no_grad():
            for parameter in transform.parameters():
                parameter.normal_(std=0.2)
            for name in from_data(transform):
                transform.get_buffer(name).uniform_(0.5, 1.5)
        return transform.to(dtype)

    def context(self, n: int, seed: int = 0) -> Context | None:
        """n rows of context, the last of them null."""
        if not self.conditions:
            return None
        given = {name: self._given(kind, n, seed) for name, kind in self.conditions.items()}
        return conditions.drop(conditions.read(self.conditions, given), torch.arange(n) == n - 1)

    def _given(self, kind: Kind, n: int, seed: int) -> torch.Tensor:
        if isinstance(kind, Label):
            return (torch.arange(n) + seed) % kind.classes
        if isinstance(kind, TokenIds):  # some of them padding
            return torch.arange(n * kind.tokens).reshape(n, -1) % kind.vocabulary - (seed + 1) % 2
        return torch.randn(n, *kind.shape, generator=torch.Generator().manual_seed(seed))

    def x(self, n: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> torch.Tensor:
        return torch.randn(n, *self.event, generator=torch.Generator().manual_seed(seed)).to(dtype)

    def z(self, n: int, dtype: torch.dtype = torch.float64, seed: int = 2) -> torch.Tensor:
        return torch.randn(n, *self.latent, generator=torch.Generator().manual_seed(seed)).to(dtype)


Conditions = Mapping[str, Kind]
NOTHING, LABELS, VECTOR, PICTURE = {}, {"label": Label(3)}, {"vector": Vector(5)}, {"image": Image(2, 2, 2)}
TEXT = {"text": Text(3, 5)}
TOKEN_IDS = {"text": TokenIds(3, 7)}
TEXT_AND_RATE = {**TEXT, "rate": Number()}
BLOCKS = partial(blockwise_jacobi, size=2)
NO_VALUES = r"item\(\) cannot be called on meta tensors"
SWEEPS = {
    "stays_on_its_device": Excuse(
        RuntimeError, "without gradients sweeps end when tokens have converged, which depends on values", NO_VALUES
    )
}


def encoder(conditions: Conditions, width: int) -> torch.nn.Module | None:
    if "label" in conditions:
        return LabelEmbedding(3, width)
    return VectorEmbedding(5, width) if "vector" in conditions else None


def network(
    move: Move, conditions: Conditions, tokens: int = TOKENS, positions: Positions | None = None
) -> CausalTransformer:
    context_encoder = encoder(conditions, WIDTH)
    return CausalTransformer(
        FEATURES,
        move.raw_shape(FEATURES),
        positions=positions or Learned(tokens, WIDTH),
        width=WIDTH,
        depth=2,
        heads=2,
        context_encoder=context_encoder,
    )


def autoregressive(move: Elementwise = Affine(), conditions: Conditions = NOTHING, **options) -> Autoregressive:
    return Autoregressive(network(move, conditions), move, **options)


def rotary(*sizes: int | None, conditions: Conditions = NOTHING) -> Autoregressive:
    return Autoregressive(network(Affine(), conditions, positions=Rotary(*sizes)), Affine())


def prefixed(
    conditions: Conditions = NOTHING,
    features: int = FEATURES,
    grid: tuple[int, int] = (2, 2),
    frames: int | None = 1,
    **options,
) -> Autoregressive:
    """An autoregressive step of STARFlow, over a grid of tokens, or over those of frames."""
    move, width = Affine(Softplus(), soft_clip=4.0), 32
    encoders = {
        "text": lambda: TextPrefix(3, 5, width),
        "label": lambda: LabelPrefix(3, width),
        "rate": lambda: NumberPrefix(width, name="rate"),
    }
    found = [encoders[name]() for name in conditions]
    prefix = Prefixes(*found) if len(found) > 1 else found[0] if found else None
    positions = ScaledRotary(grid, prefix=0 if prefix is None else prefix.tokens, frames=frames, extent=4)
    layer = LayerOptions(head=16, **options)
    raw = move.raw_shape(features)
    net = PrefixTransformer(features, raw, positions=positions, width=width, depth=2, options=layer, prefix=prefix)
    return Autoregressive(net, move)


def two_streams(*, sees: bool) -> Autoregressive:
    """The deep step of STARFlow2."""
    sizes = LanguageModelSizes(width=8, depth=1, heads=2, kv_heads=1, hidden=8, vocabulary=7)
    language = FrozenLanguageModel(sizes, saved=False)
    for weight in language.buffers():  # the same in every model, as if read from files
        weight.copy_(torch.arange(weight.numel()).sin().view_as(weight))
    move = Affine(Softplus(), soft_clip=4.0)
    net = TwoStreams(
        FEATURES,
        move.raw_shape(FEATURES),
        language=LanguageStream(language, FEATURES, sees=sees),
        positions=ScaledRotary((2, 2), frames=None, extent=4),
        width=32,
        depth=1,
        options=LayerOptions(head=16),
    )
    return Autoregressive(net, move)


def by_product(step: Autoregressive) -> Autoregressive:
    return Autoregressive(Guided(step.net, step.move, GaussianProduct(2.0)), Affine())


def gridded() -> Gridded:
    patches = Patchify((2, 2, 2), 1)
    return Gridded(Chain(patches, prefixed(TEXT), Permuted(Flip(), prefixed()), Inverse(patches)))


def clips(conditions: Conditions) -> Chain:
    """The steps of STARFlow-V, over frames of 1 × 2 pixels, the deep one in reverse order."""
    patches, shallow = Patchify((2, 1, 2), 1), partial(prefixed, grid=(1, 2))
    deep = Permuted(Flip(axis=2), InSequence(shallow(conditions, frames=None)))
    return Chain(
        *(Framewise(step) for step in (patches, shallow(), Permuted(Flip(), shallow()))),
        deep,
        Framewise(Unpatchify(patches)),
    )


def short(make: Callable[[], Move], **options) -> Case:
    """An autoregressive step of two tokens, for moves that take long to trace."""
    event = (2, FEATURES)

    def step() -> Autoregressive:
        move = make()
        return Autoregressive(network(move, NOTHING, tokens=2), move)

    return Case(step, event=event, latent=event, **options)


def mix1() -> Mix1:
    inside = MaskedMLP(FEATURES, (3 * 3,), hidden=(6, 6), context_encoder=torch.nn.Identity())
    return Mix1(inside, width=6, components=3)


def guided(move: Elementwise, conditions: Conditions, temperature: float, rule: Rule) -> Autoregressive:
    return Autoregressive(Guided(network(move, conditions), move, rule, attention_temperature=temperature), Affine())


def masked(
    move: Elementwise = Affine(), conditions: Conditions = NOTHING, solve: Solve = sequential, **options
) -> Autoregressive:
    """A vector of five features, a token each."""
    context_encoder = encoder(conditions, 16)
    net = MaskedMLP(5, (move.params_per_element,), hidden=(16, 16), context_encoder=context_encoder, **options)
    return Autoregressive(net, move, solve=solve)


def coupling(split: Split, move: Elementwise = Affine(), conditions: Conditions = NOTHING, **options) -> Coupling:
    context_encoder = encoder(conditions, 16)
    return Coupling(
        MLP(split.kept, move.raw_shape(split.moved), hidden=(16, 16), context_encoder=context_encoder, **options),
        move,
        split,
    )


def residual(conditions: Conditions = NOTHING, **options) -> Residual:
    context_encoder = encoder(conditions, 16)
    return Residual(ContractiveMLP(5, hidden=(16, 16), context_encoder=context_encoder), **options)


def continuous(conditions: Conditions = NOTHING, hidden: tuple[int, ...] = (8, 8), **options) -> Continuous:
    net = VelocityMLP(2, hidden=hidden, context_encoder=encoder(conditions, hidden[0]))
    return Continuous(net, **options)


def convolutional(conditions: Conditions = NOTHING) -> Coupling:
    """Flow++'s network on the columns of an image."""
    move, context_encoder = Composed(Shift(), Affine()), encoder(conditions if conditions is LABELS else NOTHING, WIDTH)
    net = GatedAttentionNet(
        2,
        (2, 3),
        size=(2, 2),
        width=WIDTH,
        blocks=1,
        given=2 if conditions is PICTURE else 0,
        context_encoder=context_encoder,
    )
    return Coupling(net, move, halves(4, swapped=True))


def level(channels: int) -> Chain:
    split, bound = halves(4 * channels), Sigmoid(0.0, 1.0, offset=2.0)
    net = ConvNet(split.kept, (split.moved, 2), width=WIDTH)
    return Chain(Squeeze(), LU(4 * channels, seed=1), Coupling(net, Affine(bound), split))


def of_tokens(split: Split) -> Coupling:
    net = ViT(2, (2, 2), tokens=4, width=WIDTH, depth=1, heads=2, context_encoder=LabelEmbedding(3, WIDTH))
    return Coupling(net, Affine(Sigmoid()), split)


def images(make: Callable[[], Transform], event: tuple[int, ...] = (4, 2, 2), **options) -> Case:
    return Case(make, event=event, latent=options.pop("latent", event), **options)


def vectors(make: Callable[[], Transform], **options) -> Case:
    return Case(make, event=(5,), latent=(5,), **options)


def points(make: Callable[[], Transform], **options) -> Case:
    """Of two features, for what takes a pass for each at every step of a solve."""
    return Case(make, event=(2,), latent=(2,), **options)


COLLIDER = torch.tensor([[0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 1, 0]])

GIVEN_ZEROS = {
    "gradients": Excuse(
        AssertionError, "as published, its convolution is given zeros, and most of its weights never matter", "weight"
    )
}
GOES_BACK = {
    "compiles": Excuse(Unsupported, "its backward pass asks for gradients itself, which is not traced"),
    "second_derivatives_are_differences": Excuse(
        RuntimeError, "its backward pass has no derivative", "not have been used in the graph"
    ),
}
LANGUAGE = {
    "gradients": Excuse(AssertionError, "one of its maps serves the logits of texts alone", r"net\.to_text\.weight"),
    "builds_on_the_meta_device": Excuse(AssertionError, "a language model is read from files, not from a state dict"),
    "copies_and_prints": Excuse(
        AssertionError, "copies of a frozen language model share its memory", "shares its memory"
    ),
}
COPIES = dict.fromkeys(
    ("compiles", "compiles_back"), Excuse(Unsupported, "copies of its parts on the image's grid are not traced")
)
SEARCHES = {
    "stays_on_its_device": Excuse(
        RuntimeError, "the search ends when nothing changes, which asks for values", NO_VALUES
    ),
}

UNROLLS = {
    "compiles_back": Excuse(
        Unsupported,
        "its searches, one after another, are too many operations to compile",
        "Record it by torch.jit.trace",
    ),
}
SOLVES = {
    "compiles": Excuse(Unsupported, "a solve is not traced; the velocity is what is compiled"),
    "compiles_back": Excuse(Unsupported, "the same"),
}
ADAPTS = SOLVES | {
    "stays_on_its_device": Excuse(RuntimeError, "steps end by values", "meta tensor"),
}
GRID = RK4(16)  # gives what adaptive steps give, to 1e-9, in a tenth of their time

CASES = {
    "flip": Case(Flip),
    "patchify": Case(partial(Patchify, (1, 4, 6), 2), event=(1, 4, 6), latent=(6, 4)),
    "autoregressive/affine": Case(autoregressive),
    "autoregressive/shift": Case(partial(autoregressive, Shift())),
    "autoregressive/bounded": Case(partial(autoregressive, Affine(SoftClip()))),
    "autoregressive/spline": Case(partial(autoregressive, RationalQuadraticSpline())),
    "autoregressive/circular": Case(partial(autoregressive, CircularSpline())),
    "autoregressive/composed": Case(partial(autoregressive, Composed(Shift(), Affine(Tanh())))),
    "autoregressive/logistic mixture": short(partial(LogisticMixture, 3)),
    "autoregressive/gaussian mixture": short(partial(GaussianMixture, 3)),
    "autoregressive/monotone": short(partial(MonotoneNetwork, 3)),
    "autoregressive/histogram": Case(partial(autoregressive, Histogram(bins=6))),
    "autoregressive/mix-1": short(mix1, excused=UNROLLS),
    "autoregressive/mix-d": short(lambda: MixD(Gaussians(5, FEATURES)), excused=UNROLLS),
    "autoregressive/labels": Case(partial(autoregressive, conditions=LABELS), conditions=LABELS),
    "autoregressive/vector": Case(partial(autoregressive, conditions=VECTOR), conditions=VECTOR),
    "autoregressive/rotary": Case(partial(rotary, None, conditions=LABELS), conditions=LABELS, open=(None, FEATURES)),
    "autoregressive/rotary of a grid": Case(partial(rotary, 2, 2)),
    "autoregressive/sequential": Case(partial(autoregressive, solve=sequential)),
    "autoregressive/jacobi": Case(partial(autoregressive, solve=jacobi), excused=SWEEPS),
    "autoregressive/blockwise": Case(
        partial(autoregressive, conditions=LABELS, solve=BLOCKS), conditions=LABELS, excused=SWEEPS
    ),
    "guided/labels": Case(partial(guided, Affine(), LABELS, 1.0, Linear(0.7)), conditions=LABELS),
    "guided/attention": Case(partial(guided, Affine(), NOTHING, 0.5, Linear(0.7, "mean", "linear"))),
    "guided/both": Case(partial(guided, Affine(), LABELS, 0.5, Linear(0.7, "scale", "linear")), conditions=LABELS),
    "guided/shift": Case(partial(guided, Shift(), LABELS, 1.0, Linear(0.7)), conditions=LABELS),
    "guided/product": Case(lambda: by_product(prefixed(TEXT)), conditions=TEXT),
    "prefixed": Case(prefixed),
    "prefixed/text": Case(partial(prefixed, TEXT, norm="rms", qk_norm=True), conditions=TEXT),
    "prefixed/labels": Case(
        partial(prefixed, LABELS, key_heads=1, post_norm=True, gated=True, bias=False), conditions=LABELS
    ),
    "two streams": Case(partial(two_streams, sees=True), conditions=TOKEN_IDS, excused=LANGUAGE),
    "two streams/blind": Case(partial(two_streams, sees=False), conditions=TOKEN_IDS, excused=LANGUAGE, slow=True),
    "permuted": Case(lambda: Permuted(Flip(), autoregressive())),
    "inverse": Case(lambda: Inverse(autoregressive(conditions=LABELS)), conditions=LABELS),
    "chain": Case(
        lambda: Chain(
            Patchify((1, 4, 4), 2),
            Autoregressive(CausalTransformer(4, (4, 2), positions=Learned(4, WIDTH), width=WIDTH, depth=1), Affine()),
            Chain(
                Flip(),
                Autoregressive(
                    CausalTransformer(4, (4, 1), positions=Learned(4, WIDTH), width=WIDTH, depth=1), Shift()
                ),
            ),
        ),
        event=(1, 4, 4),
        latent=(4, 4),
    ),
    "chain/causal": Case(
        lambda: Chain(autoregressive(conditions=LABELS), autoregressive(RationalQuadraticSpline(bins=4), LABELS)),
        conditions=LABELS,
    ),
    "masked": vectors(masked),
    "masked/residual": vectors(partial(masked, residual=True)),
    "masked/vector": vectors(partial(masked, conditions=VECTOR), conditions=VECTOR),
    "masked/graph": vectors(partial(masked, graph=COLLIDER)),
    "masked/jacobi": vectors(partial(masked, solve=jacobi), excused=SWEEPS),
    "masked/order": vectors(lambda: Permuted(shuffled(5, seed=0), masked())),
    "masked/guided": vectors(
        lambda: Autoregressive(Guided(masked(conditions=VECTOR).net, Affine(), Linear(0.7)), Affine()),
        conditions=VECTOR,
    ),
    "masked/inverse": vectors(lambda: Inverse(masked(conditions=VECTOR)), conditions=VECTOR),
    "coupling/halves": vectors(lambda: coupling(halves(5))),
    "coupling/alternating": vectors(lambda: coupling(alternating(5, swapped=True), Shift(), residual=True)),
    "coupling/scattered": vectors(lambda: coupling(scattered(5, seed=0), conditions=VECTOR), conditions=VECTOR),
    "permutation": vectors(partial(shuffled, 5, seed=0)),
    "lu": vectors(partial(LU, 5)),
    "lu/image": Case(partial(LU, 3), event=(3, 2, 4), latent=(3, 2, 4)),
    "rotation": vectors(partial(Rotation, 5)),
    "actnorm": vectors(partial(ActNorm, 5)),
    "actnorm/image": Case(partial(ActNorm, 3), event=(3, 2, 4), latent=(3, 2, 4)),
    "batchnorm": vectors(lambda: BatchNorm(5).eval()),  # in training a row's answer depends on its batch, as it should
    "supports": vectors(
        lambda: Unconstrain([Interval(), Interval(-9), Interval(-9, 9), Interval(high=9), Integers(-8, 19)])
    ),
    "actnorm/not learned": vectors(partial(ActNorm, 5, learned=False)),
    "regression": vectors(partial(Regression, 5, 5), conditions=VECTOR),
    "masked/spline": vectors(partial(masked, RationalQuadraticSpline(bins=4, bound=2.0))),
    "coupling/spline": vectors(lambda: coupling(halves(5), RationalQuadraticSpline(bins=4, bound=2.0), residual=True)),
    "coupling/concatenated": vectors(
        lambda: coupling(halves(5), Concatenated(1, CircularSpline(bins=4), RationalQuadraticSpline(bins=4, bound=2.0)))
    ),
    "coupling/of some features": vectors(
        lambda: Masked(alternating(5), coupling(halves(3), conditions=VECTOR)), conditions=VECTOR
    ),
    "supports/circles": vectors(lambda: Unconstrain([Circle(-5, 5)] * 5)),
    "residual": vectors(residual, excused=SEARCHES),
    "residual/vector": vectors(partial(residual, VECTOR), conditions=VECTOR, excused=SEARCHES),
    "residual/roulette": vectors(
        partial(residual, log_det=Roulette(seed=0)),
        excused=SEARCHES
        | {
            "log_det_is_autograd": Excuse(AssertionError, "an unbiased estimate, which a test of its own compares"),
            "batch_is_its_samples": Excuse(AssertionError, "its random vectors are drawn for a batch"),
            "compiles": Excuse(Unsupported, "the number of terms is drawn"),
            "compiles_back": Excuse(Unsupported, "the same"),
        },
    ),
    "continuous": points(partial(continuous, VECTOR), conditions=VECTOR, excused=ADAPTS),
    "continuous/pushed": points(lambda: continuous(hidden=(8, 8, 8), solve=GRID), excused=SOLVES, slow=True),
    "continuous/image": images(
        lambda: Continuous(
            VelocityViT((1, 1, 2), patch=1, width=4, depth=1, context_encoder=LabelEmbedding(3, 4)), solve=GRID
        ),
        (1, 1, 2),
        conditions=LABELS,
        excused=SOLVES,
        slow=True,
    ),
    "continuous/guided": points(
        lambda: Continuous(GuidedVelocity(continuous(LABELS, (8,)).net, 0.7), solve=RK4(32)),
        conditions=LABELS,
        excused=SOLVES,
    ),
    "continuous/estimated": points(
        partial(continuous, divergence=Hutchinson(), solve=GRID),
        slow=True,
        excused=SOLVES
        | {
            "log_det_is_autograd": Excuse(AssertionError, "an unbiased estimate, which a test of its own compares"),
            "log_dets_cancel": Excuse(AssertionError, "its probes are a function of the event that a door is given"),
            "gradients_are_differences": Excuse(AssertionError, "the same: the probes of x + h are others"),
            "second_derivatives_are_differences": Excuse(AssertionError, "the same: the probes of x + h are others"),
            "float32_agrees_with_float64": Excuse(AssertionError, "the same: the probes of rounded events are others"),
        },
    ),
    "squeeze": images(Squeeze, (1, 4, 6), latent=(4, 2, 3)),
    "regroup": Case(lambda: Regroup(numbered((4, 2)).T, (4, 2)), latent=(2, 4)),
    "regroup/columns": images(partial(columns, (1, 4, 6)), (1, 4, 6), latent=(2, 4, 3)),
    "matrix": vectors(lambda: Matrix(rotation(5))),
    "matrix/groups": images(lambda: Matrix(torch.eye(2).expand(2, 2, 2))),
    "lu/seed": images(partial(LU, 4, seed=1)),
    "actnorm/element": images(partial(ActNorm, 4, 2, 2)),
    "conditional": images(lambda: ConditionalAffine(Constant((4, 2)), Affine()), excused=GIVEN_ZEROS),
    "conditional/labels": images(
        lambda: ConditionalAffine(Constant((4, 2), context_encoder=LabelEmbedding(3, 8)), Affine()),
        conditions=LABELS,
        excused=GIVEN_ZEROS,
    ),
    "coupling/checkerboard": images(
        lambda: Coupling(
            ResNet(1, (1, 2), width=WIDTH, blocks=1, context_encoder=LabelEmbedding(3, WIDTH)),
            Affine(),
            checkerboard((1, 4, 4), swapped=True),
        ),
        (1, 4, 4),
        conditions=LABELS,
    ),
    "coupling/gated": images(partial(convolutional, LABELS), conditions=LABELS),
    "coupling/picture": images(partial(convolutional, PICTURE), conditions=PICTURE),
    "coupling/within tokens": Case(
        lambda: of_tokens(within_tokens(4, 4, seed=0)), event=(4, 4), latent=(4, 4), conditions=LABELS
    ),
    "coupling/whole tokens": Case(
        lambda: of_tokens(whole_tokens(torch.tensor([True, False, False, True], device="cpu"), 4)),
        event=(4, 4),
        latent=(4, 4),
        conditions=LABELS,
    ),
    "reversible": images(lambda: Reversible(level(1)), (1, 4, 4), latent=(4, 2, 2), excused=GOES_BACK),
    "reversible/labels": Case(
        lambda: Reversible(Chain(of_tokens(within_tokens(4, 4, seed=0)), of_tokens(within_tokens(4, 4, seed=1)))),
        event=(4, 4),
        latent=(4, 4),
        conditions=LABELS,
        excused=GOES_BACK,
    ),
    "gridded": images(gridded, (2, 2, 3), conditions=TEXT, open=(2, None, None), excused=COPIES),
    "clips": images(partial(clips, TEXT_AND_RATE), (2, 2, 1, 2), conditions=TEXT_AND_RATE, open=(None, 2, 1, 2)),
    "graphed": Case(
        lambda: Graphed(Chain(Flip(), autoregressive())),
        excused={
            "made_again_part_by_part": Excuse(ValueError, "it holds recorded calls, of this process", "plain data")
        },
    ),
    "multi-scale": images(lambda: MultiScale((1, 4, 8), [level(1), level(2)]), (1, 4, 8), latent=(32,)),
}
