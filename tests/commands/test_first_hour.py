"""Found configurations, `init`, `doctor`, `completion`, and what wrong usage is answered with."""

import json
import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pointsman.core.errors import ConfigError
from pointsman.core.prices import Price
from pointsman.serve.cli import main
from pointsman.serve.commands.completion import SHELLS
from pointsman.serve.commands.listing import COMMANDS, GROUPS
from pointsman.serve.config.load import make_config, read_values
from pointsman.serve.python_api.controller import Controller

_READY = b'{"status": "ready", "models": {}, "config": "x"}'


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory without keys."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_a_configuration_of_the_folder_is_read_and_said(here, capsys):
    """./pointsman.yaml gives route its models; --config takes precedence, without a word."""
    Path("pointsman.yaml").write_text("strong: big\nweak: small\n")
    Path("other.yaml").write_text("strong: huge\nweak: tiny\n")
    assert main(["route", "hi"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("small: ")
    assert said.err == "pointsman route: reads pointsman.yaml\n"
    assert main(["route", "hi", "--config", "other.yaml"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("tiny: ")
    assert said.err == ""


def test_commands_on_a_store_or_a_folder_need_no_option_where_it_is_found(here, capsys):
    """usage, replay and promote take store and checkpoints from it; without it they say what is missing."""
    for words in (["usage"], ["replay", "--candidate", "mf"], ["promote", "x"]):
        assert main(words) == 2
        assert "is required" in capsys.readouterr().err
    Path("checkpoints").mkdir()
    Path("pointsman.yaml").write_text("routers: {mine: {checkpoint: checkpoints}}\nstore: {}\n")
    assert main(["usage"]) == 1
    assert "pointsman.db does not exist" in capsys.readouterr().err
    assert main(["promote", "x"]) == 1
    assert "holds no checkpoint 'x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serv"], "pointsman: 'serv' is not a command; did you mean serve?; see `pointsman --help`\n"),
        (["route", "hi", "--strong-shar=.5"], "did you mean --strong-share?"),
        (["route", "hi", "--expl"], "did you mean --explain?"),
        (["route", "hi", "--strong-share", "30"], "did you mean 30%?"),
        (["route", "hi", "--strong-share", "130%"], "wanted a share such as 30% or 0.3"),
        ([], "the following arguments are required: COMMAND; see `pointsman --help`\n"),
    ],
)
def test_wrong_usage_is_said_in_one_line_with_what_may_be_meant(here, capsys, words, said):
    """No dump of the usage: what is wrong, a near name, where to read on; status 2."""
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_share_may_be_a_percentage(here, capsys):
    """30% is .3."""
    results = []
    for share in ("30%", "0.3"):
        assert main(["route", "hi", "--strong-share", share]) == 0
        results.append(capsys.readouterr().out)
    assert results[0] == results[1]


def test_an_interrupt_is_130(here, monkeypatch, capsys):
    """As shells expect of a command that Ctrl-C has ended."""

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pointsman.serve.commands.route.run", stop)
    assert main(["route", "hi"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_prompt_can_come_from_stdin(here, monkeypatch, capsys):
    """`-` is what stdin holds."""
    monkeypatch.setattr("sys.stdin.read", lambda: "Prove that there are infinitely many primes.")
    assert main(["route", "-"]) == 0
    assert capsys.readouterr().out.startswith("stand-in-strong: ")


def test_help_names_every_command_in_its_group(here, capsys):
    """All commands, none twice, below their group's title."""
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{title}:\n" in said for title in GROUPS)
    assert [line.split()[0] for line in said.splitlines() if line.startswith("  ")] == list(COMMANDS)


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_command_and_its_options(here, capsys, shell):
    """The script names all commands and options; where the shell is installed, it takes the script."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    assert "max-loss" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=30)


def test_init_writes_what_doctor_finds_sound(here, monkeypatch, capsys):
    """By the keys that are set it proposes two models; a file that is there is not overwritten."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert main(["init", "--weak", "ollama/llama3.1"]) == 0
    config = make_config(read_values("pointsman.yaml"))
    assert (config.strong, config.weak) == ("gpt-4o", "ollama/llama3.1")
    assert config.store is not None
    assert main(["init"]) == 1
    assert "already exists" in capsys.readouterr().err
    text = Path("pointsman.yaml").read_text()
    Path("pointsman.yaml").write_text(f"{text}server: {{port: {_port()}}}\n")
    assert main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {finding["state"] for finding in findings} <= {"ok", "note"}
    assert {"configuration", "gpt-4o", "store", "port"} <= {finding["what"] for finding in findings}


def test_init_takes_prices_and_says_where_none_is_known(here, monkeypatch, capsys):
    """With prices dollars are known; without any, and without LiteLLM's table, it says how to give them."""
    monkeypatch.setattr("pointsman.serve.money.price_list.find_spec", lambda name: None)
    words = ["init", "--strong", "gpt-4o", "--weak", "ollama/llama3.1", "--no-store"]
    assert main([*words, "--strong-price", "2.5", "10"]) == 0
    said = capsys.readouterr().out
    assert "the price of ollama/llama3.1 is not known" in said
    assert "next: model 'gpt-4o' needs an API key: set OPENAI_API_KEY" in said
    config = make_config(read_values("pointsman.yaml"))
    assert config.models["gpt-4o"].price.price() == Price(2.5, 10.0)
    assert config.drift is not None
    assert main([*words, "-o", "x.yaml", "--strong-price", "2.5", "10", "--weak-price", "0", "0"]) == 0
    assert "no price" not in capsys.readouterr().out


def test_init_without_keys_serves_stand_ins(here, capsys):
    """With no key and nobody to ask it writes a configuration without models; one model alone is an error."""
    assert main(["init", "--no-store"]) == 0
    assert make_config(read_values("pointsman.yaml")).strong is None
    assert "next: pointsman doctor" in capsys.readouterr().out
    assert main(["init", "-o", "x.yaml", "--strong", "gpt-4o"]) == 1
    assert "wanted --strong and --weak" in capsys.readouterr().err


def test_doctor_says_what_is_wrong_and_exits_1(here, capsys):
    """A key that is not set, a port that is taken, and a configuration that is malformed are problems."""
    Path("pointsman.yaml").write_text("strong: gpt-4o\nweak: gpt-4o-mini\n")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "OPENAI_API_KEY" in said and "clock" in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        Path("pointsman.yaml").write_text(f"server: {{port: {taken.getsockname()[1]}}}\n")
        assert main(["doctor"]) == 1
        assert "choose another with --port" in capsys.readouterr().out
    Path("pointsman.yaml").write_text("sevrer: {}\n")
    assert main(["doctor"]) == 1
    assert "sevrer" in capsys.readouterr().out


def test_doctor_makes_no_database_and_knows_a_pointsman_at_its_port(here, capsys):
    """What is checked is left as it is; a server of ours at the port is no problem, another one is."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        Path("pointsman.yaml").write_text(f"store: {{}}\nserver: {{port: {server.server_address[1]}}}\n")
        states = []
        for body in (_READY, b"hello"):  # noqa: B007 - the handler answers with it
            main(["doctor", "--json"])
            found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
            states.append(found["port"]["state"])
        server.shutdown()
        thread.join()
    assert states == ["ok", "problem"]
    assert found["clock"]["state"] == found["store"]["state"] == "ok"
    assert not Path("pointsman.db").exists()


def test_help_is_a_command_too(here, capsys):
    """`pointsman help` and `pointsman help route` say what --help does."""
    for words, same in ((["help"], ["--help"]), (["help", "route"], ["route", "--help"])):
        assert main(words) == 0
        said = capsys.readouterr().out
        assert main(same) == 0
        assert said == capsys.readouterr().out
        assert "usage: pointsman" in said


def test_a_controller_says_what_was_meant():
    """A name in place of a list of names, and a percentage in place of a share."""
    with pytest.raises(ConfigError, match=r"wanted a list of names: \['mf'\]"):
        Controller("mf")
    with Controller(["mf"]) as controller, pytest.raises(ValueError, match=r"30 % is 0.3"):
        controller.route("hi", strong_share=30)


def test_problems_of_a_file_name_their_line_in_plain_words(here):
    """Line, path, what was wanted, a near key; no name of a class, no regular expression."""
    Path("pointsman.yaml").write_text(
        "strong: a\nweak: b\nmodels:\n  a:\n    price: {input: 3, output_usd_per_million: 1}\n    base_url: ftp://x\n"
        "    timouts: {}\n  b: {base_url: 'http://b/v1', price: 7}\nrouters: {mf: {strong_share: 30}}\nsevrer: {}\n"
    )
    with pytest.raises(ConfigError) as caught:
        make_config(read_values("pointsman.yaml"))
    said = str(caught.value)
    for line in (
        "models.a.base_url: wanted http(s) URL up to and with /v1 (line 6)",
        "models.a.price.input_usd_per_million: is missing (line 5)",
        "models.a.price.input: is not a known key; did you mean input_usd_per_million? (line 5)",
        "models.a.timouts: is not a known key; did you mean timeouts? (line 7)",
        "models.b.price: is 7, wanted a mapping of its settings "
        "(input_usd_per_million, output_usd_per_million, ...) or text (line 8)",
        "routers.mf.strong_share: is 30, wanted at most 1; did you mean 0.3? (line 9)",
        "sevrer: is not a known key; did you mean server? (line 10)",
    ):
        assert f"\n  {line}" in said
    assert "7 problem(s)" in said
    assert not [word for word in ("PriceConfig", "constrained", "pattern", "^") if word in said]
