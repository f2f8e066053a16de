"""`pointsman embed` and what it writes: the same rows killed or not, and a record that training can check."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import pytest

from pointsman.backends.data.sources import Input
from pointsman.backends.embedders.files import embed_table, prompts_fingerprint, read_embeddings
from pointsman.backends.embedders.static import StaticEmbedder
from pointsman.core.arrays import Float32Array
from pointsman.core.embedding import CANARIES, EmbedderIdentity
from pointsman.core.errors import DataError
from pointsman.serve.cli import main

PROMPTS = [f"question {i} about {'sums' if i % 2 else 'poems'}" for i in range(25)]
EMBED = StaticEmbedder()


class Failing:
    """The static embedder under another name, which fails after some calls and remembers its texts."""

    blocking = False

    def __init__(self, n_calls: int = 10**9, revision: str = "1") -> None:
        self.identity = EmbedderIdentity("failing", revision, 256, normalized=True)
        self.n_calls = n_calls
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Float32Array:
        if texts is not CANARIES:
            if self.n_calls == 0:
                raise OSError("No space left on device")
            self.n_calls -= 1
            self.texts += texts
        return EMBED(texts)


@pytest.fixture
def table(tmp_path):
    """A JSON lines file of prompts."""
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"id": i, "prompt": prompt}) + "\n" for i, prompt in enumerate(PROMPTS)))
    return path


def test_the_command_writes_embeddings_and_their_record(table, tmp_path, capsys):
    """Rows are the embedder's own; the record names it, its canaries and the prompts; stdout is the path."""
    output = tmp_path / "out.npy"
    assert main(["embed", str(table), "-o", str(output)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{output}\n"
    assert "25 prompts x 256 by static" in printed.err
    embeddings, record = read_embeddings(output)
    np.testing.assert_array_equal(embeddings, EMBED(PROMPTS))
    np.testing.assert_array_equal(np.load(output), EMBED(PROMPTS))
    np.testing.assert_array_equal(record.canaries, EMBED(CANARIES))
    assert (record.identity, record.n_prompts) == (EMBED.identity, 25)
    assert record.fingerprint == prompts_fingerprint(PROMPTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.npy", "prompts.jsonl"]


def test_the_command_speaks_json(table, tmp_path, capsys):
    """`--json` prints one object with the facts."""
    assert main(["embed", str(table), "-o", str(tmp_path / "out.npy"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["n_prompts"], facts["embedder"], facts["dim"]) == (25, "static", 256)


@pytest.mark.parametrize("torn_bytes", [0, 1, 1000, -7, -1024])
def test_a_stopped_run_goes_on_where_it_stopped(table, tmp_path, torn_bytes):
    """After a failure, even with a torn last row, the rest alone is embedded and the result is that of one run."""
    output = tmp_path / "out.npy"
    with pytest.raises(OSError, match="No space"):
        embed_table(table, output, Failing(n_calls=2), batch_rows=4)
    assert not output.exists()
    partial = tmp_path / "out.partial.npy"
    content = partial.read_bytes()
    partial.write_bytes(content + b"\xff" * torn_bytes if torn_bytes >= 0 else content[:torn_bytes])
    second = Failing()
    embed_table(table, output, second, batch_rows=4)
    assert second.texts == PROMPTS[8 if torn_bytes >= 0 else 7 :]
    np.testing.assert_array_equal(read_embeddings(output)[0], EMBED(PROMPTS))


def test_other_prompts_or_another_embedder_start_anew(table, tmp_path):
    """Rows of a stopped run are not mixed with those of other prompts or another embedder."""
    output = tmp_path / "out.npy"
    for revision in ("1", "2"):
        with pytest.raises(OSError, match="No space"):
            embed_table(table, output, Failing(n_calls=2, revision=revision), batch_rows=4)
    table.write_text(json.dumps({"prompt": "another"}) + "\n")
    last = Failing(revision="2")
    embed_table(table, output, last)
    assert last.texts == ["another"]
    assert read_embeddings(output)[0].shape == (1, 256)


def test_a_table_that_changes_meanwhile_is_refused(table, tmp_path):
    """Rows that vanish between the two readings are an error, and no output is written."""

    class Cutting(Failing):
        def __call__(self, texts: Sequence[str]) -> Float32Array:
            table.write_text("".join(table.read_text().splitlines(keepends=True)[:7]))
            return super().__call__(texts)

    with pytest.raises(DataError, match="changed while it was read: 7 prompts, before 25"):
        embed_table(table, tmp_path / "out.npy", Cutting())
    assert not (tmp_path / "out.npy").exists()


def test_the_old_file_stays_until_the_new_one_is_complete(table, tmp_path):
    """A run that fails leaves the earlier output and record as they were."""
    output = tmp_path / "out.npy"
    embed_table(table, output, EMBED)
    table.write_text(table.read_text() * 2)
    with pytest.raises(OSError, match="No space"):
        embed_table(table, output, Failing(n_calls=1), batch_rows=4)
    assert read_embeddings(output)[1].identity == EMBED.identity


def test_a_kill_between_the_last_steps_is_made_good(table, tmp_path):
    """Embeddings renamed but not yet their record: the next run only adds the record."""
    output, partial = tmp_path / "out.npy", tmp_path / "out.partial.json"
    embed_table(table, output, Failing())
    (tmp_path / "out.json").rename(partial)
    second = Failing()
    embed_table(table, output, second)
    assert second.texts == []
    np.testing.assert_array_equal(read_embeddings(output)[0], EMBED(PROMPTS))


_SLOW_RUN = """
import sys, time
from pointsman.backends.embedders.files import embed_table
from pointsman.backends.embedders.static import StaticEmbedder

class Slow(StaticEmbedder):
    def __call__(self, texts):
        time.sleep(0.01)
        return super().__call__(texts)

embed_table(sys.argv[1], sys.argv[2], Slow(), batch_rows=50)
"""


def test_a_killed_process_loses_nothing(tmp_path):
    """SIGKILL in the middle, then the command: rows that were there stay, the file equals one run's."""
    table, output, partial = (tmp_path / name for name in ("prompts.jsonl", "out.npy", "out.partial.npy"))
    prompts = [f"question number {i} of a long list" for i in range(5000)]
    table.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    process = subprocess.Popen([sys.executable, "-c", _SLOW_RUN, table, output])
    while process.poll() is None and not (partial.exists() and partial.stat().st_size > 500_000):
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not output.exists()
    n_done = (partial.stat().st_size - 128) // 1024
    assert 0 < n_done < 5000
    before = partial.read_bytes()[: 128 + 1024 * n_done]
    assert main(["embed", str(table), "-o", str(output)]) == 0
    assert output.read_bytes().startswith(before)
    np.testing.assert_array_equal(np.load(output), EMBED(prompts))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no prompts"),
        ('{"text": "x"}\n', "no column 'prompt'"),
        ('{"prompt": "x"}\n{"prompt": 3}\n', "row 2: prompt is 3"),
        ("{", "not valid JSON"),
    ],
)
def test_a_bad_table_is_one_message_and_no_file(tmp_path, capsys, content, message):
    """Empty, foreign or malformed tables end with exit code 1, the reason on stderr, and nothing written."""
    table = tmp_path / "prompts.jsonl"
    table.write_text(content)
    assert main(["embed", str(table), "-o", str(tmp_path / "out.npy")]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [table]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.txt"], "wanted '.npy'"),
        (["-o", "prompts.npy"], "would be overwritten"),
        (["-o", "nowhere/out.npy"], "embedding into nowhere/out.npy failed: [Errno 2]"),
        (["-o", "out.npy", "--embedder", "nope"], "possible are static"),
        (["-o", "out.npy", "--base-url", "http://x"], "no option 'base_url'"),
        (["-o", "out.npy", "--embedder", "openai/m", "--api-key", "sk-secret"], "give env:NAME instead"),
    ],
)
def test_wrong_usage_is_said(tmp_path, monkeypatch, capsys, arguments, message):
    """A wrong suffix, embedder or option fails before anything is written, and no key is repeated."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.json").write_text('[{"prompt": "x"}]')
    assert main(["embed", "prompts.json", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "sk-secret" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.json"]


@pytest.mark.parametrize("damage", ["no record", "foreign record", "rows", "dtype", "no file", "text"])
def test_embeddings_that_do_not_fit_their_record_are_refused(table, tmp_path, damage):
    """A missing, foreign or unfitting file or record is a DataError that names it."""
    output, record = tmp_path / "out.npy", tmp_path / "out.json"
    embed_table(table, output, EMBED)
    if damage == "no record":
        record.unlink()
    elif damage == "foreign record":
        record.write_text('{"identity": 3}')
    elif damage == "no file":
        output.unlink()
    elif damage == "text":
        output.write_text("not numpy")
    else:
        rows = np.load(output)
        np.save(output, rows[:-1] if damage == "rows" else rows.astype(np.float64))
    with pytest.raises(DataError, match=r"out\.(npy|json)"):
        read_embeddings(output)


def test_parquet_prompts_and_another_column_work(tmp_path):
    """Parquet is read in batches, from the column that is named."""
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"question": PROMPTS}), tmp_path / "prompts.parquet")
    calls: list[tuple[int, int]] = []
    embed_table(
        Input(tmp_path / "prompts.parquet", {"prompt": "question"}),
        tmp_path / "out.npy",
        EMBED,
        batch_rows=10,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(10, 25), (20, 25), (25, 25)]
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), EMBED(PROMPTS))
