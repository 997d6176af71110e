"""Reverse KL: a flow learns an unnormalised density p̃ = Z p from its own draws, without data.

    loss = mean over draws x ~ q of log q(x) − log p̃(x) = KL(q ‖ p) − log Z

Rezende & Mohamed 2015, arXiv:1505.05770. The loss does not show modes of p where q has no mass, so training keeps to
the modes that it finds first. Annealing finds more: draws begin wide, and the target changes step by step from a wide
density r to p̃,

    log p_β = (1 − β) log r + β log p̃,        β from 0.001 to 1, by equal factors a step

Neal 2001, "Annealed importance sampling", Statistics and Computing 11. Where β is small the modes of p_β are joined.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pushforward import conditions
from pushforward.arrays import check_number
from pushforward.conditions import Given
from pushforward.data import Data
from pushforward.flow import Flow
from pushforward.importance import LogDensity, evaluate
from pushforward.objectives.energy import DRAWS, Energy, check_energy, fault_at
from pushforward.objectives.objective import Objective, frozen, weighted
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample
from pushforward.transform import Inverse, Solving

FIRST = 1e-3  # the first β


@dataclass(frozen=True)
class Annealing:
    """How a target is annealed: over this share of the steps, from the untrained flow with `width` times its noise.

    Choose the width so that r covers all modes: where an untrained flow is the identity, r is normal with the deviation
    `width`.
    """

    width: float = 5.0
    share: float = 0.7

    def __post_init__(self):
        check_number(self.width, "width", above=0)
        check_number(self.share, "share", above=0, most=1)

    def inverse_temperature(self, done: float) -> float:
        """β after this share of the steps."""
        return FIRST ** max(0.0, 1 - done / self.share)


class ReverseKL(Objective):
    """Mean of log q(x | context) − log p̃(x) over draws x of the flow q, in nats: KL(q ‖ p) − log Z, where p = p̃ / Z.

    Minus this is a lower bound on log Z, in variational inference the ELBO, and is logged. `log_density` takes events
    (n, *event), and the context where there is one, and returns log p̃ (n,), differentiably. Only the number of data
    rows and their context are used: minimise it over `Arrays(torch.empty(256, 0))`. The bound does not show modes of p
    where q has no mass: `anneal` finds more of them, by a loss whose p̃ changes.

    With `path_gradients` the gradient leaves out the part whose mean is zero, that of log q by its weights where x is
    given: where q = p the rest is zero for every draw. This takes a second pass, x -> z; it is not for networks that
    are recomputed for their gradients. Roeder et al. 2017, "Sticking the landing", arXiv:1703.09194.
    """

    unit, quantity = "nats", "bound on log Z"

    def __init__(
        self, flow: Flow, log_density: LogDensity, anneal: Annealing | None = None, *, path_gradients: bool = False
    ):
        super().__init__()
        self.flow, self.log_density, self.anneal, self.path_gradients = flow, log_density, anneal, path_gradients
        self.wide = None if anneal is None else copy.deepcopy(flow).requires_grad_(False)
        self.beta = 1.0  # set before each step

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        n = () if context is not None else len(data)
        x, log_q = self.flow.rsample_and_log_prob(n, context, generator=generator)
        if self.path_gradients:
            with frozen(self.flow):
                log_q = self.flow.log_prob(x, context)
        log_p = target = evaluate(self.log_density, x, context)
        if self.beta < 1:
            target = self.beta * log_p + (1 - self.beta) * self._log_wide(x, context)
        cost = weighted(log_q - log_p, weights).detach().mean()
        return weighted(log_q - target, weights).mean(), {self.unit: cost}

    @property
    def changes(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.anneal is not None

    def begin(self, done: float) -> None:
        self.beta = 1.0 if self.anneal is None else self.anneal.inverse_temperature(done)

    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        """Nothing: there are no data to initialise from."""

    def check(self, data: Data) -> None:
        """Raise ValueError where the log-density cannot be learned, with the reason and what to do."""
        context = data.fetch(range(min(len(data), DRAWS)))[1]
        check_energy(
            self.flow, self.log_density, pytree.tree_map_only(Tensor, lambda t: t.to(self.flow.device), context)
        )

    def remedy(self, rows: list[int], data: Tensor, context: Given = None, generator: Source = None) -> str:
        """Whether the flow or log p̃ is at fault, and what to do."""
        n = () if context is not None else len(data)
        with torch.no_grad():
            x = self.flow.rsample(n, context, generator=generator)
        if not x.isfinite().all():
            return "The flow's own draws overflow. Lower lr."
        fault = fault_at(x, *Energy(self.log_density, context).gradient(x))
        return (fault[0].upper() + fault[1:]) if fault else "log_density is finite at all draws. Lower lr."

    def _log_wide(self, x: Events, context: Given) -> PerSample:
        """log r: the untrained flow's density with `width` times its noise, up to a constant."""
        assert self.wide is not None
        assert self.anneal is not None
        log_p, z = self.wide.log_prob_and_latent(x, context)
        rows, base = conditions.rows(self.wide.context(context), x.shape[:1]), self.wide.base
        return log_p - base.log_prob(z, rows) + base.log_prob(z / self.anneal.width, rows)


def scores_in_one_pass(flow: Flow) -> bool:
    """Whether log_prob is exact and solves nothing, as the inverse of an autoregressive transform does."""
    inverses = (part for part in flow.transform.modules() if isinstance(part, Inverse))
    return flow.exact and not any(isinstance(part, Solving) for inverse in inverses for part in inverse.modules())
