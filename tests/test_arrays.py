"""What users give: arrays of any byte order and kind, lists, numbers and sizes, through every public door."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.arrays import as_tensor, sizes
from pushforward.codecs import CodedFlow, Identity
from pushforward.conditions import Image, Label, Vector
from pushforward.editing import attributes, interpolate, variations
from pushforward.evaluation import calibration, likelihood, pictures, plots, quality
from tests.toys import picture, randomised

ROWS = np.random.default_rng(0).normal(size=(6, 4))


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


KINDS = {
    "native": lambda a: a.astype(np.float64),
    "float32": lambda a: a.astype(np.float32),
    "big-endian": lambda a: a.astype(">f8"),
    "big-endian float32": lambda a: a.astype(">f4"),
    "backwards": lambda a: a[::-1].copy()[::-1],
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "long double": lambda a: a.astype(np.longdouble),
    "unmasked": np.ma.masked_array,
    "list": np.ndarray.tolist,
    "list of arrays": list,
    "list of tensors": lambda a: list(torch.from_numpy(a)),
    "tuple": lambda a: tuple(map(tuple, a.tolist())),
}


def flow(context: int = 0) -> pf.Flow:
    torch.manual_seed(0)
    return randomised(pf.models.MAF(features=4, context=context, hidden=(8,), transforms=2).build(), 0.1).double()


DOORS = {
    "log_prob": lambda x: flow().log_prob(x),
    "log_prob_and_latent": lambda x: flow().log_prob_and_latent(x)[1],
    "log_probs": lambda x: next(flow().log_probs([(x, None)])),
    "encode": lambda x: flow().encode(x),
    "decode": lambda x: flow().decode(x),
    "known": lambda x: (
        randomised(
            pf.Flow(
                pf.transforms.Autoregressive(pf.networks.MaskedMLP(4, (2,), hidden=(8,)), pf.moves.Affine()),
                pf.bases.StandardNormal(4),
                event=(4,),
            ),
        )
        .double()
        .decode(torch.zeros(6, 4).double(), known=x)
    ),
    "trace": lambda x: list(flow().trace(x))[-1].z,
    "check": lambda x: torch.tensor(flow().check(x).finite),
    "initialize": lambda x: (made := flow(), made.initialize(x), made.log_prob(x))[-1],
    "denoise": lambda x: flow().denoise(x, 0.1),
    "sigma": lambda x: flow().denoise(ROWS, [abs(row[0]) for row in x]),
    "context": lambda x: flow(context=4).log_prob(ROWS, x),
    "distribution": lambda x: flow()().log_prob(x),
    "distribution's transform": lambda x: flow()().transform(x),
    "coded": lambda x: CodedFlow(flow(), Identity()).bound(x),
    "held out": lambda x: likelihood.held_out(CodedFlow(flow(), Identity()), x),
    "frechet": lambda x: torch.tensor(quality.frechet_distance(x, ROWS)),
    "kernel distance": lambda x: torch.tensor(quality.kernel_distance(ROWS, x, size=3, subsets=2).mean),
    "precision": lambda x: torch.tensor(quality.precision_recall(x, ROWS)[0]),
    "calibration": lambda x: calibration.check_calibration(flow(), x, draws=3).ranks.double(),
    "interpolate": lambda x: interpolate(flow(), x, ROWS, 3),
    "directions": lambda x: attributes.directions(flow(), x, [True, False] * 3),
    "edit": lambda x: attributes.edit(flow(), x, [1.0, 0, 0, 0], 0.5),
}
if importlib.util.find_spec("sklearn"):
    DOORS["c2st"] = lambda x: torch.tensor(quality.c2st(x, ROWS, folds=2))


@pytest.mark.filterwarnings("ignore:.*determine a covariance")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_arrays_of_every_kind(door, kind):
    if door == "c2st" and kind not in ("big-endian", "list"):
        return  # it trains a network
    expected = DOORS[door](torch.from_numpy(ROWS.copy()))
    found = DOORS[door](KINDS[kind](ROWS))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, check_dtype=False)


REFUSED = {
    "masked": (np.ma.masked_array([[1.0, 2.0]], [[False, True]]), "masked.* Drop these rows"),
    "structured": (np.zeros(3, [("a", ">f4"), ("b", "f8")]), "structured array with the fields a, b"),
    "text": ([["a", "b"]], "takes numbers"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), r"holds datetime64\[D\], and a flow takes numbers"),
    "objects": (np.array([[1.0, object()]]), "holds <object .* in row 0, column 1, which is no number"),
    "nothing": (None, "is of type NoneType"),
    "dict": ({"a": [1.0]}, "is of type dict, and a flow takes arrays"),
    "distribution": (torch.distributions.Normal(0, 1), "type Normal, .* Draw from it by its sample"),
    "sparse": (torch.eye(2).to_sparse(), "sparse tensor.*to_dense"),
    "ragged": ([[1.0], [1.0, 2.0]], "rows of different lengths"),
}


IMAGES = {
    "Images": lambda x: pf.data.Images(x, levels=9).fetch([1])[0],
    "labels": lambda x: pf.data.Images(torch.zeros(4, 1, 2, 2, dtype=torch.int64), x[:, 0, 0, 0], classes=9).labels,
    "grid": lambda x: pictures.grid(x, 2),
    "picture": lambda x: torch.from_numpy(np.asarray(pictures.pixels(x[0])).copy()),
    "corner plot": lambda x: torch.tensor(len(plots.plot_corner(x[:, 0, 0], x[:, 0, 0]).axes)),
}


@pytest.mark.parametrize("door", IMAGES)
def test_what_holds_and_shows_images_takes_arrays(door):
    if door == "corner plot":
        pytest.importorskip("matplotlib")
    images = np.random.default_rng(0).integers(0, 9, (4, 1, 2, 2))
    expected = IMAGES[door](torch.from_numpy(images))
    for kind in (np.ndarray.copy, read_only, np.ma.masked_array, lambda a: a.astype(">i4")):
        torch.testing.assert_close(IMAGES[door](kind(images)), expected, check_dtype=False)
    with pytest.raises(ValueError, match="masked"):
        IMAGES[door](np.ma.masked_array(images, images == images[0, 0, 0, 0]))


@pytest.mark.parametrize("change", [interpolate, attributes.edit, variations.vary])
def test_a_single_image_is_no_batch(change):
    given = {interpolate: (ROWS[0], 3), attributes.edit: (ROWS[0], 1.0), variations.vary: ([True] * 4, 1)}[change]
    with pytest.raises(ValueError, match=r"give several images, \(n, \*\(4,\)\); got \(4,\)"):
        change(flow(), ROWS[0], *given)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_array_of_numbers_is_refused_with_what_to_do(name):
    given, message = REFUSED[name]
    for read in (flow().log_prob, flow().encode, Vector(2).read, Label(3).read, lambda x: quality.c2st(x, x)):
        with pytest.raises(ValueError, match=message):
            read(given)


UNREADABLE = {  # a column of a table of pandas -> what is told of it
    "text": (lambda pd: pd.Series(["x", "y", "x"]), "holds 'x' in row 0, which is no number. For a category"),
    "category": (lambda pd: pd.Categorical(["x", "y", "x"]), "holds 'x' in row 0, which is no number. For a category"),
    "dates": (lambda pd: pd.date_range("2020", periods=3), "holds datetime64.* Give dates and times as numbers"),
    "time zone": (lambda pd: pd.date_range("2020", periods=3, tz="UTC"), "holds Timestamp.* in row 0, .* Give dates"),
    "durations": (lambda pd: pd.timedelta_range("1D", periods=3), "holds timedelta64.* Give dates and times"),
    "one duration": (lambda pd: [1.0, pd.Timedelta("1D"), 2.0], "holds Timedelta.* in row 1, .* Give dates"),
    "missing": (lambda pd: pd.Series([1, pd.NA, 2], dtype=object), "holds <NA> in row 1, .* missing values"),
    "lists": (lambda pd: pd.Series([[1], [2], [3]]), r"holds \[1\] in row 0, which is no number"),
    "large": (lambda pd: pd.Series([1, 2**53 + 1, 3]), "holds integers beyond 2.*53, such as 9007199254740993"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_column_that_cannot_be_read_is_told_by_its_name(kind):
    pandas = pytest.importorskip("pandas")
    column, message = UNREADABLE[kind]
    table = pandas.DataFrame({"a": [0.5, 1.5, 2.5], "b": column(pandas)})
    for door in (lambda: as_tensor(table, "x"), lambda: pf.fit(flow(), table, steps=1)):
        with pytest.raises(ValueError, match=f"column 'b' of x {message}"):
            door()
    assert as_tensor(table[["a"]]).tolist() == [[0.5], [1.5], [2.5]]


TABLES = {  # columns by name -> a table; the library is that before the first point
    "pandas.DataFrame": lambda kind, columns: kind(columns),
    "pyarrow.Table": lambda kind, columns: kind.from_pydict(columns),
    "pyarrow.RecordBatch": lambda kind, columns: kind.from_pydict(columns),
    "polars.DataFrame": lambda kind, columns: kind(columns),
    "astropy.table.Table": lambda kind, columns: kind(columns),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_every_library_are_read_by_column(kind):
    module, _, name = kind.rpartition(".")
    table, real = getattr(pytest.importorskip(module), name), np.linspace(0, 1, 60)
    make = TABLES[kind]
    found = as_tensor(make(table, {"a": real, "b": np.arange(60)}), "x")
    assert torch.equal(found, torch.stack([torch.from_numpy(real), torch.arange(60).double()], 1))
    for column, message in (
        (np.arange(60).astype("datetime64[ms]"), "column 'b' of x holds .*Give dates and times as numbers"),
        (np.arange(60) + 2**60, "column 'b' of x holds integers beyond"),
    ):
        with pytest.raises(ValueError, match=message):
            as_tensor(make(table, {"a": real, "b": column}), "x")
    with pytest.warns(UserWarning, match="^column b holds 1 in all rows"):
        pf.fit(pf.models.NICE(features=2).build(), make(table, {"a": real, "b": np.ones(60)}), steps=1, progress=False)


def test_what_is_masked_in_a_column_is_no_data():
    table = pytest.importorskip("astropy.table").Table({"a": np.ma.masked_greater(np.arange(3.0), 1)})
    with pytest.raises(ValueError, match="column 'a' of x is a masked array, and 1 of its entries"):
        as_tensor(table, "x")


def test_arrays_keep_their_dtype_and_lists_have_float64():
    assert as_tensor(np.zeros(2, ">f8")).dtype == torch.float64
    assert as_tensor(np.zeros(2, ">f4")).dtype == torch.float32
    assert as_tensor([0.0, 1.0]).dtype == as_tensor(1.5).dtype == torch.float64
    assert as_tensor([1, 2]).dtype == torch.int64
    given = torch.zeros(2, requires_grad=True)
    assert as_tensor(given) is given


@pytest.mark.parametrize("label", [[0, 2], np.array([0, 2], ">i4"), np.array([0, 2], np.uint8), (0, 2)])
def test_labels_of_every_kind(label):
    torch.testing.assert_close(
        picture().log_prob(torch.zeros(2, 1, 8, 8), label),
        picture().log_prob(torch.zeros(2, 1, 8, 8), torch.tensor([0, 2])),
    )


@pytest.mark.parametrize(
    "shape",
    [5, np.int64(5), np.array(5), torch.tensor(5), [5], (5,), torch.Size([5]), np.array([5]), torch.tensor([5])],
)
def test_sizes_are_whole_numbers_of_any_kind(shape):
    assert flow().sample(shape).shape == (5, 4)
    assert flow().sample_and_log_prob(shape)[1].shape == (5,)
    assert flow()().sample(shape).shape == (5, 4)
    assert sizes(shape) == (5,)


@pytest.mark.parametrize("shape", [5.0, "5", None, -1, [2, 3.0], (2, -1)])
def test_other_sizes_are_refused(shape):
    with pytest.raises(ValueError, match="shape (is an integer, or a tuple|has sizes of 0 or more)"):
        flow().sample(shape)


@pytest.mark.parametrize("kind", [Vector(2), Image(1, 1, 2)])
def test_contexts_are_finite(kind):
    for value in (np.inf, -np.inf):
        with pytest.raises(ValueError, match="that a flow is conditioned on are finite; 1 elements"):
            kind.read(np.array([0.0, value]).reshape(kind.shape))


def test_models_take_sizes_of_numpy_and_lists():
    model = pf.models.MAF(features=np.int64(4), hidden=[8, 8], transforms=np.int32(2))
    assert model == pf.models.MAF(features=4, hidden=(8, 8), transforms=2)
    assert hash(model) == hash(pf.models.MAF(features=4, hidden=(8, 8), transforms=2))
    assert type(model.features) is int
    assert type(pf.models.Glow(image=np.array([1, 8, 8])).image) is tuple
