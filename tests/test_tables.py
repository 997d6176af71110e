"""Tables are read in the one way in which they can be read, or refused with the column, the line and what to do."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.cli.main import main
from pushforward.data import Table, read_table, write_table

DOCS = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
NAN = np.nan
AB = {"a": [1.5, 3.0], "b": [2.0, 4.25]}
X = {"x0": [1.5, 3.0], "x1": [2.0, 4.25]}


def write(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / name


READ = {  # text -> its columns
    # encodings and ends of lines
    "UTF-8 with a mark": ("a,b\n1.5,2\n3,4.25\n".encode("utf-8-sig"), AB),
    "UTF-8 with a mark, headerless": ("1.5,2\n3,4.25\n".encode("utf-8-sig"), X),
    "UTF-16": ("a,b\n1.5,2\n3,4.25\n".encode("utf-16"), AB),
    "UTF-16, the other order": (b"\xfe\xff" + "a,b\n1.5,2\n3,4.25\n".encode("utf-16-be"), AB),
    "UTF-32": ("a,b\n1.5,2\n3,4.25\n".encode("utf-32"), AB),
    "Latin": ("mäß,b\n1.5,2\n3,4.25\n".encode("latin-1"), {"mäß": [1.5, 3.0], "b": [2.0, 4.25]}),
    "carriage returns": ("a,b\r\n1.5,2\r\n3,4.25\r\n", AB),
    "carriage returns alone": ("a,b\r1.5,2\r3,4.25\r", AB),
    "no end of line": ("a,b\n1.5,2\n3,4.25", AB),
    # separators and quotes
    "semicolons": ("a;b\n1.5;2\n3;4.25\n", AB),
    "tabs": ("a\tb\n1.5\t2\n3\t4.25\n", AB),
    "bars": ("a|b\n1.5|2\n3|4.25\n", AB),
    "blanks": ("a b\n1.5   2\n  3 4.25  \n", AB),
    "tabs and blanks": ("a \t b\n1.5\t 2\n3 \t4.25\n", AB),
    "commas and blanks": ("a, b\n1.5, 2\n3, 4.25\n", AB),
    "a separator that is said": ("sep=;\na;b\n1.5;2\n3;4.25\n", AB),
    "quotes": ('"a","b"\n"1.5","2"\n"3","4.25"\n', AB),
    "a quoted separator": ('"a, first","b"\n1.5,2\n3,4.25\n', {"a, first": [1.5, 3.0], "b": [2.0, 4.25]}),
    "a name of two lines": ('"a\nfirst","b"\n1.5,2\n3,4.25\n', {"a first": [1.5, 3.0], "b": [2.0, 4.25]}),
    "decimal commas": ("a;b\n1,5;2\n3;4,25\n", AB),
    "decimal commas and tabs": ("a\tb\n1,5\t2\n3\t4,25\n", AB),
    "decimal commas and blanks": ("1,5 2\n3 4,25\n", X),
    "decimal commas, headerless": ("1,5;2\n3;4,25\n", X),
    "quoted decimal commas": ('a,b\n"1,5",2\n3,"4,25"\n', AB),
    "three places, beside decimal commas": ("a;b\n1,500;2\n3;4,25\n", AB),
    "three places after a zero": ("a;b\n0,125;2\n0,5;4\n", {"a": [0.125, 0.5], "b": [2.0, 4.0]}),
    # what is skipped
    "trailing separators": ("a,b,\n1.5,2,\n3,4.25,\n", AB),
    "trailing separators below the names": ("a,b\n1.5,2,\n3,4.25,\n", AB),
    "trailing separators, headerless": ("1.5,2,\n3,4.25,\n", X),
    "several trailing separators": ("a,b,,\n1.5,2,,\n3,4.25,,\n", AB),
    "empty lines": ("\n\na,b\n\n1.5,2\n  \n3,4.25\n\n", AB),
    "lines of separators": ("a,b\n1.5,2\n,\n3,4.25\n,\n", AB),
    "comments": ("# by hand\na,b\n1.5,2\n# more\n3,4.25\n% the end\n", AB),
    "names in a comment": ("# a,b\n1.5,2\n3,4.25\n", AB),
    "names in a comment, by blanks": ("# of today\n#a b\n1.5 2\n3 4.25\n", AB),
    "a comment that names nothing": ("# of 2024\n1.5,2\n3,4.25\n", X),
    # names
    "headerless": ("1.5,2\n3,4.25\n", X),
    "headerless, a cell missing": ("1.5,,2\n3,1,4\n", {"x0": [1.5, 3.0], "x1": [NAN, 1.0], "x2": [2.0, 4.0]}),
    "headerless, the first cell missing": (",1.5\n3,4.25\n", {"x0": [NAN, 3.0], "x1": [1.5, 4.25]}),
    "headerless, NaN first": ("nan,1.5\n3,4.25\n", {"x0": [NAN, 3.0], "x1": [1.5, 4.25]}),
    "headerless, integers": ("1,2\n3,4\n", {"x0": [1.0, 3.0], "x1": [2.0, 4.0]}),
    "headerless, exponents": ("1e3,2E-1\n3,4\n", {"x0": [1000.0, 3.0], "x1": [0.2, 4.0]}),
    "one column": ("a\n1.5\n3\n", {"a": [1.5, 3.0]}),
    "one column, headerless": ("1.5\n3\n", {"x0": [1.5, 3.0]}),
    "one row": ("a,b\n1.5,2\n", {"a": [1.5], "b": [2.0]}),
    "one row, headerless": ("1.5,2\n", {"x0": [1.5], "x1": [2.0]}),
    "names that count": ("0,1\n1.5,2.5\n3.5,4.25\n", {"0": [1.5, 3.5], "1": [2.5, 4.25]}),
    "names that are years": ("2019,2020\n1.5,2.5\n3.5,4.25\n", {"2019": [1.5, 3.5], "2020": [2.5, 4.25]}),
    "quoted names that count": ('"1","2"\n1,2\n3,4\n', {"1": [1.0, 3.0], "2": [2.0, 4.0]}),
    "names, some that count": ("id,0,1\n5,1,2\n7,3,4\n", {"id": [5.0, 7.0], "0": [1.0, 3.0], "1": [2.0, 4.0]}),
    "blanks in names": ("a (GeV) , b\n1.5,2\n3,4.25\n", {"a (GeV)": [1.5, 3.0], "b": [2.0, 4.25]}),
    # the index of pandas and of R
    "an index": (",a,b\n0,1.5,2\n1,3,4.25\n", AB),
    "an index, its rows shuffled": (",a,b\n7,1.5,2\n3,3,4.25\n", AB),
    "an index of words": (",a,b\nfirst,1.5,2\nsecond,3,4.25\n", AB),
    "an index read again": ("Unnamed: 0,a,b\n0,1.5,2\n1,3,4.25\n", AB),
    "an index read twice": ("Unnamed: 0.1,Unnamed: 0,a,b\n0,0,1.5,2\n1,1,3,4.25\n", AB),
    "an index and names that count": (",0,1\n0,1,2\n1,3,4\n", {"0": [1.0, 3.0], "1": [2.0, 4.0]}),
    "an index and one name that counts": (",0\n0,1.5\n1,3\n", {"0": [1.5, 3.0]}),
    "row names without a name": ("a b\n1 1.5 2\n2 3 4.25\n", AB),
    # values
    "missing values": ("a,b\nNA,2\n3,\nn/a,#N/A\n1,null\n", {"a": [NAN, 3.0, NAN, 1.0], "b": [2.0, NAN, NAN, NAN]}),
    "other missing values": ("a,b\n?,2\n3,-\nNone,<NA>\n1,.\n", {"a": [NAN, 3.0, NAN, 1.0], "b": [2.0, NAN, NAN, NAN]}),
    "true and false": ("a,b\nTrue,1\nfalse,2\n", {"a": [1.0, 0.0], "b": [1.0, 2.0]}),
    "exponents of Fortran": ("a,b\n1.5D+00,2d+0\n.3D+1,42.5d-01\n", AB),
    "signs and points": ("a,b\n+1.,-.5\n-0,1.5E+3\n", {"a": [1.0, 0.0], "b": [-0.5, 1500.0]}),
}


@pytest.mark.parametrize("case", READ)
def test_text_is_read(case, tmp_path):
    text, expected = READ[case]
    found = read_table(write(tmp_path, text))
    assert not {name for name in found.faults if name}
    assert list(found.columns) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found.columns[name], values)


@pytest.mark.parametrize("pack", [gzip, bz2, lzma], ids=["gz", "bz2", "xz"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "CSV"])
def test_compressed_text_is_read(pack, suffix, tmp_path):
    text = "a\tb\n1.5\t2\n3\t4.25\n" if suffix == "tsv" else "a,b\n1.5,2\n3,4.25\n"
    name = f"t.{suffix}." + {gzip: "gz", bz2: "bz2", lzma: "xz"}[pack]
    found = read_table(write(tmp_path, pack.compress(text.encode()), name))
    assert {name: column.tolist() for name, column in found.columns.items()} == AB


@pytest.mark.parametrize(("header", "names", "rows"), [(True, ["0", "1"], 2), (False, ["x0", "x1"], 3)])
def test_a_header_that_is_not_clear_can_be_said(header, names, rows, tmp_path):
    found = read_table(write(tmp_path, "0,1\n1,0\n1,1\n"), header=header)
    assert (list(found.columns), len(found)) == (names, rows)


REFUSED = {  # text -> what is said
    "nothing": ("", "the file holds no rows"),
    "empty lines": ("\n \n", "the file holds no rows"),
    "names alone": ("a,b\n", "the file holds no rows, only names"),
    "comments alone": ("# a\n", "the file holds no rows"),
    "a short line": ("a,b\n1,2\n\n3\n4,5\n", "line 4 has 1 of the table's 2 columns"),
    "a long line": ("a,b\n1,2\n3,4,5\n", "line 3 has 3 of the table's 2 columns"),
    "decimal commas between commas": ("a\n1,5\n2,5\n", "line 2 has 2 of the table's 1 columns"),
    "two columns of one name": ("a,b,a\n1,2,3\n", "columns 1, 3 are all named 'a'"),
    "a column without a name": ("a,,b\n1,2,3\n", "column 2 has no name"),
    "a first column without a name": (
        ",a\n1.5,2\n2.5,3\n",
        "the first column has no name, and its values are no index",
    ),
    "integers that count": ("0,1\n1,0\n1,1\n", "line 1 holds 0, 1: .* Say --header True or --header False"),
    "a zero above numbers": ("0\n0.5\n1.5\n", "line 1 holds 0: .* Say --header True or --header False"),
    "a damaged archive": (b"\x1f\x8b\x08junk", "the file is compressed, and cut short or damaged"),
    "an archive cut short": (gzip.compress(b"a,b\n1,2\n" * 99)[:-9], "cut short or damaged"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(99), "zip archive or a spreadsheet"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "UTF-16 without a mark"),
    "UTF-8 cut within a letter": ("é,b\n1,2\n3,ß".encode()[:-1], "begins as utf-8 and goes on as something else"),
    "UTF-16 cut short": ("a,b\n1,2\n".encode("utf-16")[:-1], "begins as utf-16 and goes on as something else"),
}
USED = {  # text of columns a and b -> what is said when b is used; a can be used all the same
    "a typing error": ("a,b\n1,2\n3,x\n4,5\n", "column 'b' holds 'x', which is no number, at line 3. Correct it"),
    "a typing error in the first line": ("1.0,x\n3,4\n5,6\n", "column 'x1' holds 'x', .* at line 1. Correct it"),
    "text": ("a,b\n1,u\n\n3,v\n", "column 'b' holds 'u', .* at line 2. For a category .* Or leave it out: --drop b."),
    "text, headerless": ("1.5,u\n3,v\n", "column 'x1' holds 'u', which is no number, at line 1. For a category"),
    "dates": ("a,b\n1,2020-01-31\n", "column 'b' holds '2020-01-31', .* Write dates and times as numbers"),
    "European dates": ("a;b\n1,5;31.01.2020\n", "column 'b' holds '31.01.2020', .* Write dates and times as numbers"),
    "times": ("a,b\n1,12:30\n", "column 'b' holds '12:30', .* Write dates and times as numbers"),
    "thousands": ('a,b\n1,"1,234"\n', "column 'b' holds '1,234', which can be read in two ways, .* without separators"),
    "thousands and places": ('a,b\n1,"1,234.5"\n', "column 'b' holds '1,234.5', .* without separators of thousands"),
    "millions": ("a;b\n1;1,234,567\n", "column 'b' holds '1,234,567', .* without separators of thousands"),
    "European thousands": ("a;b\n1;1.234,5\n", "column 'b' holds '1.234,5', .* without separators of thousands"),
    "points beside decimal commas": ("a;b\n1,5;1.234\n", "column 'b' holds '1.234', which can be read in two ways"),
    "points and commas": ("a;b\n1;1,5\n2;2.5\n", "column 'b' holds '1,5', and elsewhere a decimal point, at line 2"),
    "underscores": ("a,b\n1,1_000\n", "column 'b' holds '1_000', .* without separators of thousands"),
    "blanks in numbers": ("a,b\n1,1 000\n", "column 'b' holds '1 000', .* without separators of thousands"),
    "percent": ("a,b\n1,5%\n2,6%\n", "column 'b' holds '5%', which is no number, at line 2. Write numbers without"),
    "currency": ("a,b\n1,$5.1\n2,\n3,$6\n", r"column 'b' holds '\$5.1', .* Write numbers without their unit"),
    "units": ("a,b\n1,5 GeV\n2,6e1 GeV\n", "column 'b' holds '5 GeV', .* Write numbers without their unit"),
    "codes of digits and letters": ("a,b\n1,1d5\n2,2c\n", "column 'b' holds '1d5', .* For a category"),
    "missing": (
        "a,b\n1,2\n\n3,NA\n5,\n",
        "column 'b' has no value at line 4 and 1 other row. .*--missing drop.*--drop b",
    ),
    "infinite": ("a,b\n1,2\n3,-inf\n", "column 'b' is infinite at line 3.* --drop b"),
    "several of text": ("a,b,c\n1,u,v\n", "column 'b' holds 'u'.* leave it out, with others of its kind: --drop b c"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_text_that_cannot_be_read_is_refused(case, tmp_path):
    text, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"table.csv: .*{message}"):
        read_table(write(tmp_path, text))


@pytest.mark.parametrize("case", USED)
def test_a_column_that_cannot_be_used_is_refused_where_it_is_used(case, tmp_path):
    text, message = USED[case]
    path = write(tmp_path, text)
    found = read_table(path)
    first, *others = found.names
    assert np.isfinite(found.take([first])).all()
    with pytest.raises(ValueError, match=f"table.csv: {message}"):
        pf.recipes.table(path)
    assert pf.recipes.table(path, drop=others).data.columns == (first,)


def test_rows_with_missing_values_can_be_left_out(tmp_path):
    path = write(tmp_path, "a,b,c\n1.5,2,\n3,NA,4\n5.5,6,7\n7,8,9\n")
    made = pf.recipes.table(path, missing="drop", drop=["c"])
    assert made.data.columns == ("a", "b")
    assert made.data.table().take(["a"]).flatten().tolist() == [1.5, 5.5, 7.0]
    with pytest.raises(ValueError, match="every row has a missing value"):
        pf.recipes.table(write(tmp_path, "a,b\n1,\n2,\n", "empty.csv"), missing="drop")
    with pytest.raises(ValueError, match=r"column 'a' is 7 at line 5, outside of Interval\(low=0.0, high=6.0\)"):
        pf.recipes.table(path, missing="drop", drop=["c"], supports=pf.recipes.tables.read_supports(["a=interval:0:6"]))


def test_a_column_has_one_support():
    with pytest.raises(ValueError, match=r"column 'a' has one support; got 'a=circle:0:9' beside Interval\(low=0.0"):
        pf.recipes.tables.read_supports(["a=interval:0:6", "a=circle:0:9"])


@pytest.mark.parametrize(
    ("column", "remedy"),
    [
        (np.arange(2).astype("datetime64[s]"), "holds timestamp.*Give dates and times as numbers"),
        (np.arange(2).astype("datetime64[D]"), "holds date32.*Give dates and times as numbers"),
        (np.arange(2).astype("timedelta64[s]"), "holds duration.*Give dates and times as numbers"),
        ([[1.0, 2.0], [3.0, 4.0]], "holds list<.*Write each element of it as a column"),
        (["u", "v"], "holds string.*For a category number its values"),
    ],
)
def test_columns_of_parquet_that_are_no_numbers_say_what_to_do(column, remedy, tmp_path):
    assert re.search(remedy, read_table(in_parquet(tmp_path, a=[1.0, 2.0], b=column)).faults["b"])


def in_parquet(folder: Path, **columns) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), folder / "table.parquet")
    return folder / "table.parquet"


def test_columns_of_parquet_files_are_numbers_booleans_and_decimals(tmp_path):
    from decimal import Decimal

    path = in_parquet(
        tmp_path,
        real=[0.5, None],
        integer=[1, None],
        true=[True, None],
        decimal=[Decimal("1.25"), Decimal("2.5")],
        word=["a", "b"],
        __index_level_0__=[5, 3],
    )
    found = read_table(path)
    expected = {"real": [0.5, NAN], "integer": [1, NAN], "true": [1, NAN], "decimal": [1.25, 2.5]}
    assert list(found.columns) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found.columns[name], values)
    assert list(found.index) == ["__index_level_0__"]
    with pytest.raises(ValueError, match="column 'real' has no value at row 2"):
        found.take(["real"])
    with pytest.raises(ValueError, match="column 'word' holds string, and a flow takes numbers.*--drop word"):
        found.take(["word"])


@pytest.mark.parametrize("named", [False, True])
def test_the_index_of_a_data_frame_is_not_learned(named, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": [1.5, 3.0, 2.0], "b": [2.0, 4.25, 1.0]}, index=[5, 9, 7])
    frame.index.name = "event" if named else None
    frame.to_parquet(tmp_path / "t.parquet")
    assert pf.recipes.table(tmp_path / "t.parquet").data.columns == ("a", "b")
    if named:
        assert pf.recipes.table(tmp_path / "t.parquet", columns=["event"]).data.columns == ("event",)


def test_columns_of_numpy_files(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.5, 2], [3, 4.25]]))
    np.save(tmp_path / "b.npy", np.array([(1.5, 2), (3, 4.25)], dtype=[("a", ">f8"), ("b", "f4")]))
    np.savez(tmp_path / "c.npz", a=np.array([1.5, 3], "f4"), b=np.array([2, 4.25]))
    for name, expected in (("a.npy", X), ("b.npy", AB), ("c.npz", AB)):
        found = read_table(tmp_path / name)
        assert {name: column.tolist() for name, column in found.columns.items()} == expected
    (tmp_path / "d.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"d\.npz: not a complete \.npz file"):
        read_table(tmp_path / "d.npz")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "npz"])
def test_what_is_written_is_read(suffix, tmp_path):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    columns = {"a": np.array([0.1, 2.5], "f4"), "b": np.array([3.0, 4.0]), "c": np.array([1e300, -np.pi])}
    write_table(columns, tmp_path / "new" / f"t.{suffix}")
    found = read_table(tmp_path / "new" / f"t.{suffix}")
    assert list(found.columns) == list(columns)
    for name, values in columns.items():
        np.testing.assert_allclose(found.columns[name], values, rtol=1e-7)
    if suffix == "csv":
        assert (tmp_path / "new" / "t.csv").read_text().splitlines()[1] == "0.1,3,1e+300"
    with pytest.raises(ValueError, match="a table is written as .csv"):
        write_table(columns, tmp_path / "t.xls")


def test_a_table_of_many_rows_is_read_in_seconds(tmp_path):
    x = np.random.default_rng(0).normal(size=(50_000, 8))
    np.savetxt(tmp_path / "t.csv", x, delimiter=",", header="a,b,c,d,e,f,g,h")
    np.testing.assert_array_equal(read_table(tmp_path / "t.csv").take(list("abcdefgh")), x)


def test_rows_are_named_by_lines_or_places():
    assert Table({"a": np.zeros(2)}).at(1) == "row 2"
    assert Table({"a": np.zeros(2)}, lines=[3, 7]).at(1) == "line 7"


# ---- what is too little to learn from


@pytest.mark.filterwarnings("ignore:a MAF of one feature")
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": np.arange(2.0), "b": np.arange(2.0) ** 2}, "there are 2 rows of 2 columns, too few to learn from"),
        ({"a": np.arange(19.0)}, "there are 19 rows of 1 columns, too few to learn from: give 20 at least"),
        ({f"a{i}": np.random.default_rng(i).normal(size=30) for i in range(40)}, "give 42 at least"),
        ({"a": np.arange(50.0), "b": np.full(50, 3.0)}, "column 'b' is 3 in all 50 rows.* --drop b"),
        ({"b": np.full(50, 3.0), "a": np.arange(50.0), "c": np.zeros(50)}, "column 'b' is 3 in all .* --drop b c"),
        ({"a": np.arange(50.0), "w": np.arange(50.0) - 1}, "the weight 'w' is -1 at row 1"),
        ({"a": np.arange(50.0), "w": np.zeros(50)}, "all weights are zero"),
    ],
)
def test_what_cannot_be_learned_is_refused(columns, message, tmp_path):
    np.savez(tmp_path / "t.npz", **columns)
    made = pf.recipes.table(tmp_path / "t.npz", weights="w" if "w" in columns else None, model="maf")
    with pytest.raises(ValueError, match=f"t.npz: {message}|{message}"):
        made.training_data()


# ---- the page


def fold(text: str) -> str:
    return " ".join(text.split())


def test_the_page_shows_what_is_read(tmp_path):
    shown = re.findall(r"`([\w.]+)` has (\d+) rows of ([^:;]+)[:;].*?```text\n(.*?)```", DOCS, flags=re.DOTALL)
    assert len(shown) > 6
    for name, rows, columns, text in shown:
        found = read_table(write(tmp_path, text, name))
        assert (len(found), list(found.columns)) == (int(rows), columns.split(", "))


def test_the_page_shows_what_is_refused(tmp_path):
    shown = re.findall(r'`([\w.]+)` is refused: "(.*?)":\n\n```text\n(.*?)```', DOCS, flags=re.DOTALL)
    assert len(shown) > 6
    for name, message, text in shown:
        with pytest.raises(ValueError, match=re.escape(fold(message))):
            pf.recipes.table(write(tmp_path, text, name))


def test_the_commands_of_the_page_run(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    columns = {
        "mass": random.exponential(size=120),
        "energy": random.normal(5e4, 1e4, 120),
        "jets": random.poisson(1, 120),
    }
    columns |= {"w": random.uniform(size=120), "kind": np.array(["a", "b"] * 60)}
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    write(tmp_path, "\n".join(lines), "table.csv")
    write(tmp_path, "\n".join(line for line in lines[:5]), "rows.csv")
    write(tmp_path, "\n".join(lines[:9]), "new.csv")
    small = {"autoregressive-nsf": "--model.transforms 1 --model.hidden 8 --steps 2", "maf": "--steps 2"}
    block = re.search(r"### Commands\n\n```bash\n(.*?)```", DOCS, flags=re.DOTALL)
    assert block
    for line in block.group(1).splitlines():
        words = shlex.split(line, comments=True)
        if words[1] == "train":
            words += small["maf" if "maf" in words else "autoregressive-nsf"].split()
        monkeypatch.setattr(sys, "argv", words)
        main()
    assert pf.load("runs/given").context_columns == ("mass",)
    code = re.search(r"In Python:\n\n```python\n(.*?)```", DOCS, flags=re.DOTALL)
    assert code
    monkeypatch.setattr(
        pf.recipes, "table", lambda *args, table=pf.recipes.table, **options: table(*args, **options, steps=2)
    )
    known = {"pf": pf}
    exec(code.group(1), known)
    assert known["flow"].columns == ("mass", "energy")
    assert torch.isfinite(known["flow"].sample(3)).all()
