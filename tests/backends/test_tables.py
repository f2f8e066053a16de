"""Tables of prompts, in every format and every kind of damage."""

import gzip
import importlib
import io
import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.backends.data.labels import read_prompts
from pointsman.backends.data.outcomes import read_outcomes
from pointsman.backends.data.sources import Input, _stdin
from pointsman.backends.data.table_writer import TableWriter, write_table
from pointsman.backends.data.tables import FORMATS, Table, column_names, count_rows, iter_batches, read_table
from pointsman.core.errors import DataError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ROWS = st.lists(st.tuples(TEXTS, st.floats(-1e6, 1e6)), min_size=1, max_size=20)


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=25)
@given(rows=ROWS)
def test_what_is_written_is_read_again(suffix, rows):
    """Texts of any Unicode and numbers survive a round trip in every format, in order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"table{suffix}"
        write_table(Table({"prompt": [text for text, _ in rows], "score": [x for _, x in rows]}), path)
        table = read_table(path)
        assert table.texts("prompt") == [text for text, _ in rows]
        assert table.numbers("score").tolist() == [x for _, x in rows]


@pytest.mark.parametrize("suffix", FORMATS)
def test_batches_are_the_table_in_pieces(tmp_path, suffix):
    """Batches hold at most the rows asked for, know their place, and together are the whole."""
    path = tmp_path / f"table{suffix}"
    write_table(Table({"prompt": [f"p{i}" for i in range(10)]}), path)
    batches = list(iter_batches(path, batch_rows=4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [batch.first_row for batch in batches] == [1, 5, 9]
    assert [text for batch in batches for text in batch.texts("prompt")] == read_table(path).texts("prompt")


def test_columns_and_their_types_are_kept(tmp_path):
    """A parquet file that is read, extended and written has its old columns, types included, and the new one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    columns = {"prompt": pa.array(["a", "b"]), "n": pa.array([1, None], pa.int16()), "tags": pa.array([["x"], []])}
    pq.write_table(pa.table(columns), source)
    with TableWriter(target) as out:
        for batch in iter_batches(source, batch_rows=1):
            out.write(batch.with_columns({"win_rate": [0.5]}))
    written = pq.read_table(target)
    assert written.schema.names == ["prompt", "n", "tags", "win_rate"]
    assert written.drop_columns(["win_rate"]).equals(pq.read_table(source))
    assert count_rows(target) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"prompt": "x"}\n{"prompt": \n', "line 2: not valid JSON"),
        ("a.jsonl", b'{"prompt": "x"}\n[1]\n', "line 2: is .* wanted a JSON object"),
        ("a.jsonl", b'{"prompt": "x"}\n{"prompt": "\xff"}\n', "line 2: byte 0xff is not UTF-8"),
        ("a.json", b'{"error": "x"}', "wanted an array of objects"),
        ("a.json", b'"x"', "wanted an array of objects"),
        ("a.json", b'[{"prompt": "x"}, 3]', "row 2: is 3"),
        ("a.json", b"[" * 100000, "not valid JSON"),
        ("a.csv", b"prompt,score\nx,1\ny\n", "line 3: 1 fields, wanted 2"),
        ("a.csv", b"prompt,prompt\nx,y\n", "names a column twice"),
        ("a.csv", b"", "is empty, wanted a header"),
        ("a.csv.gz", b"\x1f\x8b no gzip", "damaged gzip file"),
        ("a.csv", b"prompt\nfine\nM\xfcnchen\n", "line 3: byte 0xfc is not UTF-8"),
        ("a.parquet", b"PAR1 this is none PAR1", "not a readable parquet"),
        ("a.txt", b"prompt", "wanted one of .parquet, .jsonl, .ndjson, .json, .csv"),
    ],
)
def test_a_damaged_file_is_refused_with_its_row(tmp_path, name, content, message):
    """Damage is named with its place, and never read past."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_a_missing_file_or_column_is_named(tmp_path):
    """A path that is not there and a column that is not there are errors that say so."""
    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n')
    with pytest.raises(DataError, match=r"no column 'prompt'; its columns are text"):
        read_table(path, columns=["prompt"])


def test_what_is_no_file_is_said_to_be_none_where_data_sets_cannot_be_read(monkeypatch):
    """A misspelt path is not answered by a missing package alone."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        DataError, match=r'outcome.cvs is not a file; to read it as a data set: .*pip install "pointsman'
    ):
        read_table("outcome.cvs")


def test_scores_may_be_true_false_or_missing():
    """True and false count as 1 and 0, null and empty cells as missing; anything else is a number or an error."""
    table = Table({"score": [True, "False", " true ", "0.5", 3, None, " "]})
    assert table.scores("score").tolist()[:5] == [1, 0, 1, 0.5, 3]
    assert np.isnan(table.scores("score")[5:]).all()
    with pytest.raises(DataError, match="row 2: score is 'inf', wanted a finite number"):
        Table({"score": ["1", "inf"]}).scores("score")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("prompt", None, "row 3: prompt is None"),
        ("prompt", "\ud800", "lone surrogate"),
        ("score", "x", "row 3: score is 'x'"),
    ],
)
def test_a_wrong_value_is_named_with_its_row(column, value, message):
    """A value of the wrong kind is an error with its row and what was wanted."""
    table = Table({"prompt": ["fine", "fine"], "score": [1, "2.5"]}, first_row=1)
    good = {"prompt": "fine", "score": 0}
    table = Table({name: [*values, value if name == column else good[name]] for name, values in table.columns.items()})
    with pytest.raises(DataError, match=message):
        table.texts("prompt")
        table.numbers("score")


def test_parquet_that_is_not_utf8_is_named_with_its_row(tmp_path):
    """A text column of other bytes than UTF-8 is refused with the row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = pa.array([b"fine", b"M\xfcnchen"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    pq.write_table(pa.table({"prompt": text}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="row 2: prompt is not UTF-8"):
        read_table(tmp_path / "a.parquet")


def test_an_error_leaves_the_old_file(tmp_path):
    """A file is replaced only once the new one is complete."""
    path = tmp_path / "out.jsonl"
    path.write_text("old")

    def fail_half_way():
        with TableWriter(path) as out:
            out.write(Table({"prompt": ["x"]}))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]


def test_numbers_that_json_lacks_become_null(tmp_path):
    """NaN and infinity are written as null: the file stays valid JSON."""
    write_table(Table({"x": [float("nan"), float("inf"), 1.0]}), tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["x"] for line in lines] == [None, None, 1.0]


def test_a_folder_is_a_data_set(tmp_path):
    """What `datasets` can load is read like a file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"prompt": "x", "n": 1}\n{"prompt": "y", "n": 2}\n')
    table = read_table(tmp_path / "data")
    assert table.texts("prompt") == ["x", "y"]
    with pytest.raises(DataError, match=r"not a file .* or a data set that can be loaded"):
        read_table(tmp_path / "nothing")


EXCEL = {
    "semicolons.csv": "\ufeffprompt;strong;weak\r\na;1;0,5\r\nb;1;1\r\n",
    "hint.csv": "sep=;\r\nprompt;strong;weak\r\na;1;0,5\r\nb;1;1\r\n",
    "trailing.csv": "prompt,strong,weak,,\r\na,1,0.5,,\r\nb,1,1,,\r\n,,,,\r\n",
    "blank.csv": "\r\nprompt,strong,weak\r\na,1,0.5\r\n\r\nb,1,1\r\n\r\n",
    "tabs.tsv": "prompt\tstrong\tweak\na\t1\t0.5\nb\t1\t1\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", EXCEL)
def test_what_excel_writes_is_read(name, encoding, tmp_path):
    """Separators, hints, marks, decimal commas, blank lines and empty columns of Excel give the same table."""
    text = EXCEL[name] if encoding == "utf-8" else EXCEL[name].lstrip("\ufeff")
    (tmp_path / name).write_bytes(text.encode(encoding))
    table = read_table(tmp_path / name)
    assert list(table.columns) == ["prompt", "strong", "weak"] and table.columns["prompt"] == ["a", "b"]
    assert table.numbers("strong").tolist() == [1, 1] and table.numbers("weak").tolist() == [0.5, 1]


@pytest.mark.parametrize("missing", [None, float("nan"), "", " ", "NaN", "NA", "N/A", "null", "None", "<NA>"])
def test_a_missing_number_is_nan_however_it_is_written(missing):
    """What libraries write for a missing number is missing, and no number for `numbers`."""
    table = Table({"score": [1, missing]})
    assert np.isnan(table.scores("score")).tolist() == [False, True]
    with pytest.raises(DataError, match="row 2: score is"):
        table.numbers("score")


def test_a_column_that_only_late_rows_have_is_a_column(tmp_path):
    """Every batch of JSON Lines has every column of the file, whichever row names it first."""
    rows = [{"prompt": f"p{i}", **({"strong": 1} if i > 7 else {})} for i in range(10)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert column_names(tmp_path / "t.jsonl") == ["prompt", "strong"]
    parts = list(iter_batches(tmp_path / "t.jsonl", columns=["prompt", "strong"], batch_rows=4))
    assert [list(part.columns) for part in parts] == [["prompt", "strong"]] * 3
    assert read_table(tmp_path / "t.jsonl").columns["strong"] == [None] * 8 + [1, 1]
    with TableWriter(tmp_path / "out.csv") as out:
        for part in parts:
            out.write(part)
    assert len(read_table(tmp_path / "out.csv")) == 10


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"])
def test_half_an_emoji_is_written_and_read(suffix, tmp_path):
    """A lone surrogate stops no format, and the prompt that is read again is the one that every embedder reads."""
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = tmp_path / f"t{suffix}"
    write_table(Table({"prompt": ["draw \ud83d this", "a \ud83d\ude00"], "x": [["\ud83d"], []]}), path)
    assert [p for _, part in read_prompts(path) for p in part] == ["draw  this", "a 😀"]


TABLE = {"question": ["a", "b"], "performance": [0.5, None], "model_name": ["x", "y"]}


FRAMES = {
    "columns": lambda: TABLE,
    "rows": lambda: [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)],
    "pandas": lambda: pytest.importorskip("pandas", reason="pandas is not installed").DataFrame(TABLE),
    "pyarrow": lambda: pytest.importorskip("pyarrow", reason="pyarrow is not installed").table(TABLE),
}
if find_spec("polars"):
    FRAMES["polars"] = lambda: importlib.import_module("polars").DataFrame(TABLE)


@pytest.mark.parametrize("frame", FRAMES)
def test_data_frames_are_tables(frame):
    """DataFrames, pyarrow tables, columns and rows in memory are sources, under the names that an Input gives them."""
    source = Input(FRAMES[frame](), {"prompt": "question", "score": "performance", "model": "model_name"})
    table = read_table(source, columns=["prompt", "model", "score"])
    assert table.columns["prompt"] == ["a", "b"] and np.isnan(table.scores("score")).tolist() == [False, True]
    assert len(read_outcomes(source)) == 1


def test_a_folder_and_a_pattern_are_their_files_in_order(tmp_path):
    """Files of a folder follow each other by name; a column that one lacks is missing there."""
    (tmp_path / "b.jsonl").write_text('{"prompt": "b", "x": 1}\n')
    (tmp_path / "a.csv").write_text("prompt\na\n")
    (tmp_path / "readme.md").write_text("no table")
    for source in (tmp_path, f"{tmp_path}/*"):
        assert read_table(source).columns == {"prompt": ["a", "b"], "x": [None, 1]}
    with pytest.raises(DataError, match="no table matches"):
        read_table(f"{tmp_path}/*.tsv")


ROWS = [{"prompt": f"p{i}", "score": i % 2} for i in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
BARS = "prompt|score\np0|0\np1|1\np2|0\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("array.jsonl", json.dumps(ROWS)),
        ("indented.ndjson", json.dumps(ROWS, indent=1)),
        ("lines.json", LINES),
        ("bars.csv", BARS),
        ("words.csv", "prompt,score\np0,no\np1,Yes\np2,fail\n"),
        ("percent.csv", "prompt,score\np0,0%\np1,100 %\np2,0.0%\n"),
    ],
)
def test_what_people_call_otherwise_is_read(name, content, tmp_path):
    """An array in JSON Lines, lines in JSON, bars for commas, words and percentages for numbers."""
    (tmp_path / name).write_text(content)
    table = read_table(tmp_path / name)
    assert table.column("prompt") == ["p0", "p1", "p2"]
    assert table.scores("score").tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "content",
    [LINES.encode(), json.dumps(ROWS).encode(), BARS.encode(), gzip.compress(LINES.encode(), mtime=0)],
    ids=["lines", "array", "bars", "gzip"],
)
def test_standard_input_is_a_table(content, monkeypatch):
    """In any format that it is in, read as often as it takes; its name is said."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    _stdin.cache_clear()
    assert column_names("-") == ["prompt", "score"]
    table = read_table("-")
    assert (table.source, table.scores("score").tolist()) == ("standard input", [0.0, 1.0, 0.0])
    _stdin().close()
    _stdin.cache_clear()


def test_a_column_in_capitals_is_suggested(tmp_path):
    """A column that differs from the wanted one in capitals alone is named in the error."""
    (tmp_path / "a.csv").write_text("Prompt,score\nx,1\n")
    with pytest.raises(DataError, match="--columns prompt=Prompt"):
        read_table(tmp_path / "a.csv").column("prompt")
