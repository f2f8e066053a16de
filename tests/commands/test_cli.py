"""The command line: exit codes, what goes to which stream, `score` and `inspect`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.cli import main
from pointsman.serve.commands.inspect import describe
from pointsman.serve.commands.listing import COMMANDS

_MAIN = "import sys; from pointsman.serve.cli import main; sys.exit(main())"
PROMPTS = ["What is 2 + 2?", "Prove that there are infinitely many primes.", "héllo 😀", ""]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A small table with a column beside the prompts."""
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "id": i}) + "\n" for i, p in enumerate(PROMPTS)))
    return path


def test_score_keeps_the_columns_and_adds_the_routers_win_rates(prompts, tmp_path, capsys):
    """The output has every input column, and the win rates that the router gives one by one."""
    out = tmp_path / "out.jsonl"
    assert main(["score", "--router", "mf", str(prompts), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    router = load_router(load_checkpoint("mf"))
    assert [row["prompt"] for row in rows] == PROMPTS
    assert [row["id"] for row in rows] == [0, 1, 2, 3]
    wanted = [router.calculate_strong_win_rate(p) for p in PROMPTS]
    assert [row["win_rate"] for row in rows] == pytest.approx(wanted, abs=1e-6)


def test_score_prints_counts_and_times_for_machines(prompts, tmp_path, capsys):
    """`--json` puts one JSON object on stdout."""
    assert main(["score", str(prompts), "-o", str(tmp_path / "out.csv"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["n_prompts"] == 4
    assert facts["total_s"] >= facts["embedding_s"] + facts["scoring_s"]


def test_score_goes_on_from_its_journal(prompts, tmp_path, capsys):
    """A second run takes the win rates of the first from the journal, scores nothing, and writes the same."""
    words = ["score", str(prompts), "--json", "--router", "random", "--journal", str(tmp_path / "rates")]
    assert main([*words, "-o", str(tmp_path / "one.jsonl")]) == 0
    assert json.loads(capsys.readouterr().out)["n_prompts"] == 4
    assert main([*words, "-o", str(tmp_path / "two.jsonl")]) == 0
    assert json.loads(capsys.readouterr().out)["n_prompts"] == 0
    assert (tmp_path / "one.jsonl").read_text() == (tmp_path / "two.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "nowhere.jsonl", "-o", "x.jsonl"], "nowhere.jsonl does not exist"),
        (["score", "PROMPTS", "-o", "OUT", "--prompt-column", "text"], "no column 'text'; its columns are prompt, id"),
        (["score", "PROMPTS", "-o", "OUT", "--router", "nope"], "'nope' is neither a checkpoint directory nor a known"),
        (["route", "hi", "--router", "mff"], "did you mean mf?"),
        (["score", "PROMPTS", "-o", "OUT", "--router", "sw_ranking"], "no bundled checkpoint"),
        (["score", "PROMPTS", "-o", "OUT", "--strong", "hal"], "does not know model 'hal'"),
        (["score", "PROMPTS", "-o", "out.xlsx"], "suffix '.xlsx', wanted one of"),
        (["inspect", "nowhere"], "'nowhere' is neither a checkpoint directory nor"),
    ],
)
def test_a_failed_run_exits_1_says_why_and_writes_nothing(words, message, prompts, tmp_path, capsys):
    """What went wrong is on stderr in one line, stdout is empty, no output file appears."""
    places = {"PROMPTS": str(prompts), "OUT": str(tmp_path / "out.jsonl")}
    assert main([places.get(word, word) for word in words]) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert message in streams.err
    assert streams.err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["prompts.jsonl"]


@pytest.mark.parametrize("words", [[], ["frobnicate"], ["score"], ["score", "a", "-o", "b", "--nope"]])
def test_wrong_usage_exits_2(words, capsys):
    """A command line that cannot be understood is wrong usage."""
    assert main(words) == 2
    assert "--help`" in capsys.readouterr().err


def test_a_misspelt_option_says_what_its_command_has(capsys):
    """One line names the command, the option, and the one that may be meant."""
    assert main(["evaluate", "a.csv", "--routerz", "mf"]) == 2
    wanted = "unrecognized arguments: --routerz mf; did you mean --routers?; see `pointsman evaluate --help`"
    assert capsys.readouterr().err == f"pointsman evaluate: {wanted}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    """`--help` of every listed command works."""
    assert main([command, "--help"]) == 0
    assert "usage: pointsman " + command in capsys.readouterr().out


def test_inspect_shows_what_the_default_checkpoint_holds(capsys):
    """The bundled router names its pair, embedder, data and licences, and thresholds that rise as the share falls."""
    assert main(["inspect", "mf", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == json.loads(json.dumps(describe(load_checkpoint("mf"))))
    assert facts["kind"] == "mf"
    assert facts["embedder"]["name"] == "static+length+common-sense"
    thresholds = list(facts["calibration"]["thresholds"].values())
    assert thresholds == sorted(thresholds, reverse=True)
    assert facts["provenance"]
    assert main(["inspect", "mf"]) == 0
    assert "calibration" in capsys.readouterr().out


def test_an_interruption_while_a_command_is_imported_is_one_line(monkeypatch, capsys):
    """Ctrl-C in the first moments ends as it does later: exit code 130 and no traceback."""

    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("pointsman.serve.commands.listing.import_module", interrupted)
    assert main(["score", "a.csv", "-o", "b.csv"]) == 130
    assert capsys.readouterr().err == "pointsman score: interrupted\n"


@pytest.mark.parametrize("words", [["--help"], ["route", "--help"], ["route", "Hello"]])
def test_a_reader_who_leaves_early_is_no_error(words):
    """`pointsman ... | head -1` ends without a word on stderr."""
    end, start = os.pipe()
    os.close(end)
    process = subprocess.run([sys.executable, "-c", _MAIN, *words], stdout=start, stderr=subprocess.PIPE, timeout=120)
    os.close(start)
    assert process.returncode in (0, 1)  # 120 is an error that came after all was done
    assert process.stderr == b""
