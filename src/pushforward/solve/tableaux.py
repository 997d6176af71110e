"""Coefficients of explicit Runge–Kutta methods.

A step of size h from y at time t is

    k_i = f(t + c_i h, y + h Σ_{j<i} a_ij k_j),        y(t + h) ≈ y + h Σ_i b_i k_i

and h Σ_i e_i k_i estimates its error, where e = b − b̂ for a second method b̂ of lower order.
Hairer, Nørsett & Wanner 1993, "Solving Ordinary Differential Equations I", sections II.1 to II.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Tableau:
    """The rows of a from the second stage on, the weights b, and those of the error, if the method has an estimate.

    Where the last row of a is b ("first same as last", FSAL) the last stage is the first of the next step.
    """

    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    error: tuple[float, ...] = ()

    @cached_property
    def c(self) -> tuple[float, ...]:
        """The times of the stages from the second on, in steps: each the sum of its row."""
        return tuple(sum(row) for row in self.a)

    @cached_property
    def without_error(self) -> Tableau:
        """The method without stages that serve the error alone: its value is the same."""
        return Tableau(self.order, self.a[:-1], self.b[:-1]) if self.error and not self.b[-1] else self


EULER = Tableau(1, (), (1.0,))
MIDPOINT = Tableau(2, ((1 / 2,),), (0.0, 1.0))
HEUN = Tableau(2, ((1.0,),), (1 / 2, 1 / 2))
RK4 = Tableau(4, ((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))

# Bogacki & Shampine 1989, "A 3(2) pair of Runge–Kutta formulas"
BOSH3 = Tableau(
    3,
    ((1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    (2 / 9, 1 / 3, 4 / 9, 0.0),
    (2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
)

# Dormand & Prince 1980, "A family of embedded Runge–Kutta formulae"
_DOPRI5 = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
DOPRI5 = Tableau(
    5,
    (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        _DOPRI5,
    ),
    (*_DOPRI5, 0.0),
    (
        35 / 384 - 5179 / 57600,
        0.0,
        500 / 1113 - 7571 / 16695,
        125 / 192 - 393 / 640,
        -2187 / 6784 + 92097 / 339200,
        11 / 84 - 187 / 2100,
        -1 / 40,
    ),
)

# Tsitouras 2011, "Runge–Kutta pairs of order 5(4) satisfying only the first column simplifying assumption"
_TSIT5 = (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774)
TSIT5 = Tableau(
    5,
    (
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
        _TSIT5,
    ),
    (*_TSIT5, 0.0),
    (
        -0.00178001105222577714,
        -0.0008164344596567469,
        0.007880878010261995,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918697,
        1 / 66,
    ),
)
