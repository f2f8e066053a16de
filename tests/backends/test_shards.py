"""Folders of parquet cut into shards, and what is computed from them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.backends.data import shards as shards_module
from pointsman.backends.data.shards import ShardJob, map_shard, read_shard
from pointsman.backends.data.tables import iter_batches
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.embedders.files import embed_table, read_embeddings
from pointsman.backends.embedders.sharded import assemble_embeddings, embed_shard
from pointsman.core.errors import DataError

BATCH = 8


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of 8 rows instead of 8,192."""
    monkeypatch.setattr(shards_module, "BATCH_ROWS", BATCH)


def write_folder(folder, sizes, *, group=5):
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for i, n in enumerate(sizes):
        rows = range(start, start + n)
        table = pa.table({"prompt": [f"question {row}" for row in rows], "row": pa.array(rows, pa.int32())})
        pq.write_table(table, folder / f"{i}.parquet", row_group_size=group)
        start += n
    return folder


def job(source, output, *, rows=1, **key):
    return ShardJob(str(source), str(output), rows_per_shard=rows, key=key)


def read_all(output):
    return pa.concat_tables([pq.read_table(path) for path in sorted(output.glob("part-*.parquet"))])


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=3).filter(any),
    group=st.integers(1, 40),
    rows=st.integers(1, 40),
)
def test_shards_hold_the_batches_of_the_whole_files(tmp_path_factory, sizes, group, rows):
    """However rows are grouped, the shards' batches are those that reading each file as a whole gives."""
    folder = write_folder(tmp_path_factory.mktemp("job") / "in", sizes, group=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "BATCH_ROWS", BATCH)
        made = job(folder, folder.parent / "out", rows=rows)
        found = [(first, table["prompt"].to_pylist()) for shard in made.shards for first, table in read_shard(shard)]
    whole = [
        (table.first_row, list(table.columns["prompt"]))
        for path in sorted(folder.iterdir())
        for table in iter_batches(path, batch_rows=BATCH)
    ]
    assert found == whole
    assert made.n_rows == sum(sizes)


def test_a_column_is_added_to_what_was_there(tmp_path, small_batches):
    """The outputs, in order, are the input's rows and types with the new column, whose values depend on the batch."""
    made = job(write_folder(tmp_path / "in", [21, 3]), tmp_path / "out", rows=BATCH)
    for shard in made.shards:
        map_shard(shard, lambda texts: np.arange(len(texts)) + 0.5, prompts="prompt", added="win_rate")
    table = read_all(tmp_path / "out")
    assert table.schema.types == [pa.string(), pa.int32(), pa.float64()]
    assert table["row"].to_pylist() == list(range(24))
    places = [*range(BATCH), *range(BATCH), *range(5), *range(3)]
    assert table["win_rate"].to_pylist() == [place + 0.5 for place in places]


def test_what_is_done_stays_done(tmp_path, small_batches):
    """After a stop the shards without a complete output are left to do, and no others."""
    made = job(write_folder(tmp_path / "in", [30]), tmp_path / "out", rows=BATCH, router="a")
    assert len(made.pending()) == 4
    map_shard(made.shards[2], len_of, prompts="prompt", added="n")
    (tmp_path / "out" / ".part-000001.parquet.part").write_bytes(b"half of")
    again = job(tmp_path / "in", tmp_path / "out", rows=BATCH, router="a")
    assert [shard.name for shard in again.pending()] == [f"part-00000{i}.parquet" for i in (0, 1, 3)]


def len_of(texts):
    return [len(text) for text in texts]


def test_another_job_is_refused(tmp_path, small_batches):
    """An output folder takes the shards of one router and one input."""
    job(write_folder(tmp_path / "in", [30]), tmp_path / "out", router="a")
    with pytest.raises(DataError, match=r"another job \(router differ\)"):
        job(tmp_path / "in", tmp_path / "out", router="b")
    write_folder(tmp_path / "in", [31])
    with pytest.raises(DataError, match=r"another job \(files differ\)"):
        job(tmp_path / "in", tmp_path / "out", router="a")


def test_a_uri_is_a_folder_as_well(tmp_path, small_batches):
    """A folder may be named by the URI of its file system."""
    made = job(write_folder(tmp_path / "in", [9]).as_uri(), (tmp_path / "out").as_uri(), rows=BATCH)
    for shard in made.shards:
        map_shard(shard, len_of, prompts="prompt", added="n")
    assert read_all(tmp_path / "out").num_rows == 9
    assert made.pending() == []


def test_bad_input_is_named(tmp_path):
    """No file, a damaged one, no rows, a missing column, no text: each error names the file and what was wanted."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no \.parquet file"):
        job(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"x\.parquet is not a readable parquet file"):
        job(tmp_path / "bad", tmp_path / "out")
    with pytest.raises(DataError, match="holds no rows"):
        job(write_folder(tmp_path / "none", [0]), tmp_path / "out")
    shard = job(write_folder(tmp_path / "in", [3]), tmp_path / "out").shards[0]
    with pytest.raises(DataError, match="no column 'question'; its columns are prompt, row"):
        map_shard(shard, len_of, prompts="question", added="n")
    with pytest.raises(DataError, match="row 1: row is 0, wanted a text"):
        map_shard(shard, len_of, prompts="row", added="n")
    with pytest.raises(DataError, match="nosuch://"):
        job("nosuch://bucket/in", tmp_path / "out")
    assert not list((tmp_path / "out").glob("part-*"))


def test_a_file_that_shrank_is_noticed(tmp_path):
    """A shard whose rows are no longer there is no shorter output, but an error."""
    shard = job(write_folder(tmp_path / "in", [30]), tmp_path / "out").shards[0]
    write_folder(tmp_path / "in", [20])
    with pytest.raises(DataError, match="rows early: it changed meanwhile"):
        list(read_shard(shard))


def test_embeddings_from_shards_are_the_same_two_files(tmp_path):
    """Embedding shard by shard gives, byte for byte, what embedding the file as a whole does."""
    folder = write_folder(tmp_path / "in", [9000], group=4000)
    embed = resolve_embedder("static")
    embed_table(folder / "0.parquet", tmp_path / "whole.npy", embed)
    made = job(folder, tmp_path / "parts.shards", rows=8192)
    assert len(made.shards) == 2
    for shard in made.shards:
        embed_shard(shard, embed, column="prompt")
    assemble_embeddings(made, tmp_path / "parts.npy", embed)
    assert (tmp_path / "parts.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert (tmp_path / "parts.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert read_embeddings(tmp_path / "parts.npy")[1].n_prompts == 9000
    assert not (tmp_path / "parts.shards").exists()
