"""The rows of a fit: their precision, what a flow cannot take, and what is to be told about their columns."""

import warnings
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from pushforward.arrays import as_real_tensor, as_tensor, check_exact
from pushforward.codecs import CodedFlow
from pushforward.data import Arrays
from pushforward.data.data import Conditions, named
from pushforward.flow import Flow
from pushforward.randomness import keyed
from pushforward.shapes import fits
from pushforward.statistics import SORTED, Measured, central, moments, narrowed
from pushforward.transforms import Circle, Integers, Interval, ProductSupport, Support

ATOM = 0.02  # the share of rows with one value from which on it is told
REPEATED = 0.5  # the share of rows whose value is another row's too
FEW = 50  # rows, below which repetition tells little
FAR = 30.0  # times the central range that a deviation may be
TOLD = 5  # columns in one warning
MANY = 500  # columns, above which it is not asked whether they determine each other


def rows_of(flow: Flow, x: object, context: object = None, weights: object = None) -> Arrays:
    """The rows of a fit in the flow's precision, or in float64 where that does not hold their columns."""
    support = flow.support
    integers = support.integers if isinstance(support, ProductSupport) else ()
    events = as_tensor(x, "x")
    if integers and not events.is_floating_point():
        check_exact(events.cpu(), "x")
        events = events.double()
    return Arrays(
        real_rows(flow, events, "x", integers),
        real_conditions(flow, context),
        None if weights is None else as_real_tensor(weights, "the array of weights").detach(),
    )


def real_conditions(flow: Flow, context: object) -> Conditions:
    """The rows of a context as `real_rows`: of one condition, of a dict of several, or None where there is none."""
    if isinstance(context, Mapping):
        return {name: real_rows(flow, rows, f"the condition {name!r}") for name, rows in context.items()} or None
    return None if context is None else real_rows(flow, context, "the context")


def real_rows(flow: Flow, values: object, name: str, integers: Sequence[int] = ()) -> Tensor:
    """Real numbers in the flow's precision, or in float64 where that does not hold them; integers as they are."""
    tensor = as_tensor(values, name).detach()
    if not tensor.is_floating_point():
        return tensor
    kept = narrowed(tensor, integers=integers)
    return kept if kept.dtype == torch.float64 else tensor.to(flow.dtype)


def check_rows(coded: CodedFlow, data: Arrays, names: Sequence[str] = ()) -> None:
    """Raise ValueError where a flow does not take events, their context, or values outside of its supports.

    Warns of columns that a density does not suit, and of columns, the context's too, whose unit a few rows set; `names`
    are those of the columns.
    """
    flow = coded.flow
    if not fits(data.events.shape[1:], flow.event):
        raise ValueError(
            f"a fit takes events of shape (n, {', '.join(map(str, flow.event))}), and one row of the context for each; "
            f"x has shape {tuple(data.events.shape)}."
        )
    x = coded.codec.encode(data.events, keyed(0))[0]
    flow.eval()  # a batch norm takes no statistics of one row
    with torch.no_grad():  # raises ValueError where the flow does not take them
        flow.log_prob(x[:1].to(flow.device), data.fetch([0])[1])
    support = flow.support
    supports = support.supports if isinstance(support, ProductSupport) else (Interval(),) * x.shape[1]
    if isinstance(support, ProductSupport):
        outside = support.outside(x).nonzero().tolist()
        if outside:
            row, feature = outside[0]
            raise ValueError(
                f"feature {feature} of row {row} is {data.events[row, feature]:.12g}, outside of "
                f"{supports[feature]}; {len({row for row, _ in outside})} of {len(x)} rows have such values. "
                "Drop them, or correct the supports."
            )
    if x.dim() == 2 and len(x) >= FEW:
        robust = any(isinstance(part, Measured) and part.statistics is central for part in flow.modules())
        given = [told for pair in named(data.context) for told in _suspects_of_a_context(*pair, robust)]
        _tell([*_suspects(x, supports, names, robust), *given])


def _suspects(x: Tensor, supports: Sequence[Support], names: Sequence[str], robust: bool) -> Iterator[str]:
    """What is to be told about the columns of x, a sentence each. Outliers do not set robust units."""
    x, apart = x[:: -(-len(x) // SORTED)], []
    for i, support in enumerate(supports):
        name = f"column {names[i] if names else i}"
        if isinstance(support, Integers):
            continue
        if told := _repetition(x[:, i]):
            yield f"{name} {told}"
        elif not isinstance(support, Circle):
            apart.append(i)
            if not robust and (told := _outliers(support.to_line(x[:, i])[0])):
                yield f"{name}: {told}"
    if bound := _bound(x[:, apart]):
        listed = ", ".join(str(names[apart[i]] if names else apart[i]) for i in bound[:TOLD])
        others = f" and {len(bound) - TOLD} more" if len(bound) > TOLD else ""
        yield f"columns {listed}{others} determine each other, so that all rows lie on a surface: leave one out"


def _suspects_of_a_context(name: str, context: Tensor, robust: bool) -> Iterator[str]:
    """What is to be told about a context (n, features), or one condition of it, by name."""
    if robust or context.dim() != 2 or not context.is_floating_point():
        return
    for i, column in enumerate(context[:: -(-len(context) // SORTED)].T):
        if told := _outliers(column):
            yield f"column {i} of the {name}: {told}"


def _bound(x: Tensor) -> list[int]:
    """The columns of x (rows, columns) that a linear equation binds within rounding; [] where there is none.

    The equation is the eigenvector of their correlations whose eigenvalue is the least.
    """
    if not 2 <= x.shape[1] <= min(MANY, len(x) - 1):
        return []
    mean, deviation = moments(x)
    units = (x.double() - mean) / deviation
    rounding = torch.finfo(x.dtype).eps * x.double().abs().amax(0) / deviation
    values, vectors = torch.linalg.eigh(units.T @ units / len(x))
    equation = vectors[:, 0]
    if values[0] > 4 * (equation * rounding).square().sum() + 1e-14 * x.shape[1]:
        return []
    return (equation.abs() > 1e-3).nonzero().flatten().tolist()


def _repetition(column: Tensor) -> str:
    """How values of a column repeat, and what to do; empty where few do."""
    values, counts = column.unique(return_counts=True)
    rows, most = len(column), int(counts.argmax())
    value, share = values[most].item(), counts[most].item() / rows
    whole = bool((values == values.floor()).all())
    if len(values) == 1:
        rounded = ", or give float64 rows if float32 rounded it" if column.dtype == torch.float32 and value else ""
        return f"holds {value:.9g} in all rows: leave it out{rounded}"
    remedy = "where it counts, give it the support Integers" if whole else "dequantise it, with noise of its step"
    if share >= ATOM and counts[most] > 2:
        others = f", and {len(values):,} values in all" if len(values) < rows / 2 else ""
        return f"holds {value:.9g} in {share:.1%} of the rows{others}: {remedy}, or model these rows apart"
    if 1 - len(values) / rows > REPEATED:
        return f"holds {len(values):,} values in {rows:,} rows, {value:.9g} most often: {remedy}"
    return ""


def _outliers(line: Tensor) -> str:
    """Whether a few rows set the unit of a column that is mapped to the real line, and what to do; empty where not."""
    (_, deviation), (middle, spread) = moments(line[:, None]), central(line[:, None])
    ratio = (deviation / spread).item()
    if ratio < FAR:
        return ""
    away = (line - middle).abs() / spread
    return (
        f"{(away > FAR).double().mean():.2%} of the rows lie beyond {FAR:.0f} times its central range, up to "
        f"{away.max().item():,.0f} times, and make its unit {ratio:,.0f} times too large: drop or clip them, map the "
        "column by a logarithm or arcsinh, or give the model robust=True"
    )


def _tell(told: list[str]) -> None:
    """Warn of these columns, if there are any."""
    if told:
        others = [f"and {len(told) - TOLD} more columns"] if len(told) > TOLD else []
        where = {" holds ": "at values that repeat", " surface": "on a surface"}
        places = " or ".join(place for word, place in where.items() if any(word in each for each in told))
        why = f" A density has no limit {places}." if places else ""
        warnings.warn(f"{'; '.join(told[:TOLD] + others)}.{why}", UserWarning, stacklevel=4)
