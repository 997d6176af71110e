"""The quality of samples: comparisons of two sets of features, real (n, d) and fake (m, d).

A network maps an image to a vector of features (`pushforward.evaluation.features`). The two sets of vectors are
compared as Gaussians (Fréchet distance), by the mean of a kernel (kernel distance), by neighbourhoods (precision and
recall), or by a classifier trained to separate them (C2ST; events of a posterior may be their own features). Values
depend on the network and on the sizes of the sets, and can only be compared where both are the same.

All is computed in float64. torchmetrics has the first two, as modules of images. They draw subsets from torch's global
generator, and with fewer events than features they take square roots of rounding errors: identical sets of 300 events
with 1280 features were 5e-5 apart.
"""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushforward.arrays import as_tensor, check_number
from pushforward.randomness import keyed


@dataclass(frozen=True)
class KernelDistance:
    """The mean and the standard deviation over random subsets of both sets."""

    mean: float
    deviation: float
    subset: int  # events in a subset

    def __str__(self) -> str:
        return f"{self.mean:.5f} ± {self.deviation:.5f} (s.d. over subsets of {self.subset:,})"


class PrecisionRecall(NamedTuple):
    """The share of fake events inside the real set, and of real events inside the fake set."""

    precision: float
    recall: float


@dataclass(frozen=True)
class Quality:
    """All comparisons of two sets, their sizes and the features. Printed, it is one line."""

    frechet: float
    kernel: KernelDistance
    precision: float
    recall: float
    features: str  # the name of the network that made them
    real: int  # events
    fake: int
    overflowed: int = 0  # samples that were not finite, and are left out

    def __str__(self) -> str:
        lost = f"; {self.overflowed:,} more overflowed and are left out" if self.overflowed else ""
        return (
            f"Fréchet distance {self.frechet:.2f}; kernel distance {self.kernel}; "
            f"precision {self.precision:.3f}, recall {self.recall:.3f} "
            f"({self.fake:,} samples against {self.real:,} events, features of {self.features}{lost})"
        )


def compare(real: Tensor, fake: Tensor, *, features: str, seed: int = 0) -> Quality:
    """All comparisons of two sets of features from the network named `features`.

    The kernel distance takes subsets of 1000 events, or of half the smaller set where that is less. Each set has four
    events or more.
    """
    real, fake = as_tensor(real, "real"), as_tensor(fake, "fake")
    subset = max(2, min(1000, len(real) // 2, len(fake) // 2))
    return Quality(
        frechet_distance(real, fake),
        kernel_distance(real, fake, size=subset, seed=seed),
        *precision_recall(real, fake),
        features,
        len(real),
        len(fake),
    )


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """The squared Fréchet distance of the Gaussians with the two sets' means m and covariances C:

        |m − m'|² + tr(C + C' − 2 (C C')^½)

    The trace of (C C')^½ is the sum of the singular values of C^½ C'^½. Biased upwards, more with fewer events. Warns
    where there are no more events than features. Heusel et al. 2017, arXiv:1706.08500.
    """
    real, fake = _checked(real, fake, least=2)
    fewest, width = min(len(real), len(fake)), real.shape[1]
    if fewest <= width:
        warnings.warn(
            f"{fewest} events do not determine a covariance of {width} features: their Fréchet distance is much too "
            f"large. Take several times {width} events, or use the kernel distance, which is unbiased.",
            RuntimeWarning,
            stacklevel=2,
        )
    real_mean, real_covariance, real_root = _gaussian(real)
    fake_mean, fake_covariance, fake_root = _gaussian(fake)
    overlap = torch.linalg.svdvals(real_root @ fake_root).sum()
    spread = real_covariance.trace() + fake_covariance.trace() - 2 * overlap
    return ((real_mean - fake_mean).square().sum() + spread).item()


def kernel_distance(
    real: Tensor, fake: Tensor, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> KernelDistance:
    """The squared maximum mean discrepancy under the kernel k(x, y) = (x·y / d + 1)³, over random subsets of both sets:

        E k(x, x') + E k(y, y') − 2 E k(x, y)        (x and x' never the same event)

    Unbiased at any size, so it may be negative. Bińkowski et al. 2018, arXiv:1801.01401.
    """
    if size < 2 or subsets < 1:
        raise ValueError(f"give one subset or more, of two events or more; got subsets={subsets}, size={size}.")
    real, fake = _checked(real, fake, least=size)

    def draw(events: Tensor, *keys: int) -> Tensor:
        rows = torch.randperm(len(events), generator=keyed(seed, *keys), device="cpu")[:size]
        return events[rows.to(events.device)]

    distances = torch.stack([_discrepancy(draw(real, i, 0), draw(fake, i, 1)) for i in range(subsets)])
    return KernelDistance(distances.mean().item(), distances.std(correction=0).item(), size)


def precision_recall(real: Tensor, fake: Tensor, *, neighbours: int = 3, chunk: int = 512) -> PrecisionRecall:
    """The share of each set inside the other: no further from one of its events than that event's radius.

    The radius of an event is the distance to the k-th nearest neighbour in its own set. Precision is the share of
    samples that look real, recall the share of the data that the samples cover. `chunk` rows of distances are in memory
    at once. Kynkäänniemi et al. 2019, arXiv:1904.06991.
    """
    check_number(neighbours, "neighbours", least=1)
    check_number(chunk, "chunk, in rows,", least=1)
    real, fake = _checked(real, fake, least=neighbours + 1)
    real_radii, fake_radii = _radii(real, neighbours, chunk), _radii(fake, neighbours, chunk)
    precise = []
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for events, radii in zip(fake.split(chunk), fake_radii.split(chunk), strict=True):
        distance = torch.cdist(events, real)
        precise.append((distance <= real_radii).any(1))
        recalled |= (distance <= radii[:, None]).any(0)
    return PrecisionRecall(torch.cat(precise).double().mean().item(), recalled.double().mean().item())


def c2st(real: Tensor, fake: Tensor, *, folds: int = 5, seed: int = 0) -> float:
    """The accuracy of a classifier that separates the sets: 0.5 if they have the same distribution, 1 if disjoint.

    Cross-validated over `folds` parts. The classifier is an MLP of two layers of 10 d, on features standardised by the
    real set, as in the benchmark of simulation-based inference. Lopez-Paz & Oquab 2017, arXiv:1610.06545;
    Lueckmann et al. 2021, arXiv:2101.04653.
    """
    try:
        from sklearn.model_selection import StratifiedKFold, cross_val_score
        from sklearn.neural_network import MLPClassifier
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("C2ST needs scikit-learn: pip install 'pushforward[metrics]' installs it.") from error
    real, fake = _checked(real, fake, least=folds)
    if len(real) != len(fake):
        raise ValueError(
            f"there are {len(real)} real events and {len(fake)} fake ones, so that always naming the "
            "larger set would score above 0.5: give as many of each."
        )
    sets = [events.detach().cpu().numpy() for events in (real, fake)]
    events = StandardScaler().fit(sets[0]).transform(np.concatenate(sets))
    is_fake = torch.arange(2, device="cpu").repeat_interleave(len(real)).numpy()
    width = 10 * real.shape[1]
    classifier = MLPClassifier((width, width), max_iter=10_000, random_state=seed)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return cross_val_score(classifier, events, is_fake, cv=parts).mean().item()


def _gaussian(events: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean (d,), the covariance (d, d) and its symmetric square root."""
    mean = events.mean(0)
    centred = events - mean
    covariance = centred.T @ centred / (len(events) - 1)
    variances, axes = torch.linalg.eigh(covariance)
    return mean, covariance, axes * variances.clamp(min=0).sqrt() @ axes.T


def _discrepancy(x: Tensor, y: Tensor) -> Tensor:
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(events: Tensor) -> Tensor:
        values = kernel(events, events)
        return (values.sum() - values.trace()) / (len(events) * (len(events) - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()


def _radii(events: Tensor, neighbours: int, chunk: int) -> Tensor:
    """The distance from each event to its k-th nearest neighbour, (n,), where the 0-th is the event itself."""
    return torch.cat([torch.cdist(part, events).kthvalue(neighbours + 1).values for part in events.split(chunk)])


def _checked(real: Tensor, fake: Tensor, *, least: int) -> tuple[Tensor, Tensor]:
    """Both sets, of tensors or arrays, in float64, checked."""
    real, fake = as_tensor(real, "real"), as_tensor(fake, "fake")
    for name, events in (("real", real), ("fake", fake)):
        if events.dim() != 2:
            raise ValueError(f"features have shape (events, features); the {name} ones have {tuple(events.shape)}.")
        if len(events) < least:
            raise ValueError(f"this takes {least} events or more of each set; there are {len(events)} {name} ones.")
        lost = (~events.isfinite().all(1)).sum().item()
        if lost:
            raise ValueError(
                f"{lost} of {len(events)} {name} events have features that are not finite. Leave them out."
            )
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"the real events have {real.shape[1]} features and the fake ones {fake.shape[1]}: "
            "make both with the same network."
        )
    # in float32 cdist gives an event a distance of 0.02 from itself
    return real.double(), fake.to(real.device).double()
