"""The configuration file."""

from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import ConfigError
from pointsman.serve.config import Config, ModelConfig, RouterConfig, json_schema
from pointsman.serve.config.base import Part
from pointsman.serve.config.load import make_config, read_values
from pointsman.serve.config.yaml_file import read_mapping

FULL = """
strong: big
weak: small
models:
  big: {model: openai/gpt-4o}
  small:
    base_url: "http://localhost:8000/v1"
    model: qwen3-8b
    api_key: "env:SMALL_KEY"
    timeouts: {first_byte_s: 20}
routers:
  mf: {strong_share: 0.3}
  mine: {checkpoint: ./my-checkpoint, threshold: 0.42, pair: {strong: a, weak: b}}
server: {host: 0.0.0.0, port: 8080, cors_origins: ["https://chat.example"]}
"""


def write(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_a_full_file_is_read(tmp_path, monkeypatch):
    """Every section arrives as typed values; what is left out has its default."""
    monkeypatch.setenv("SMALL_KEY", "k")
    config = make_config(read_values(write(tmp_path, FULL)))
    assert (config.strong, config.weak) == ("big", "small")
    assert config.models["small"].timeouts.first_byte_s == 20.0
    assert config.routers["mine"].pair.strong == "a"
    assert (config.server.port, config.server.cors_origins) == (8080, ("https://chat.example",))
    assert config.server.max_body_bytes == 32 * 1024 * 1024


def test_the_published_schema_accepts_what_is_accepted(monkeypatch):
    """The JSON schema validates the full file and refuses an unknown key."""
    monkeypatch.setenv("SMALL_KEY", "k")
    values = yaml.safe_load(FULL)
    jsonschema.validate(values, json_schema())
    make_config(values)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**values, "serverr": {}}, json_schema())


def test_all_problems_are_reported_at_once_with_their_paths(tmp_path, monkeypatch):
    """Unknown keys, bad values and missing environment variables are all in one message; a key in it is not shown."""
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    text = """
strong: a
models:
  a: {api_key: sk-secret, modle: x}
  b: {api_key: "env:NOT_SET_ANYWHERE", base_url: "ftp://x"}
routers:
  mf: {threshold: 1.5}
  r: {threshold: 0.5, strong_share: 0.4}
server: {port: eighty}
"""
    with pytest.raises(ConfigError, match="8 problem") as caught:
        make_config(read_values(write(tmp_path, text)))
    message = str(caught.value)
    for path in ["(top level)", "models.a.api_key", "models.a.modle", "models.b.base_url", "models.b.api_key"]:
        assert f"\n  {path}: " in message
    for path in ["routers.mf.threshold", "routers.r", "server.port"]:
        assert f"\n  {path}: " in message
    assert "NOT_SET_ANYWHERE" in message
    assert "sk-secret" not in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "wanted a mapping"),
        ("strong: a\nstrong: b", "'strong' is given twice"),
        ("routers: {}", "routers is empty"),
        ("strong: a", "weak"),
        ("{strong: a, weak: a}", "two different models"),
        ("models: {router-x: {}}", "router-x"),
        ("models: {auto: {}}", "auto"),
        ("server: {cors_origins: a}", "server.cors_origins"),
        ("models: {a: {base_url: 'http://user:password@host/v1'}}", "models.a.base_url"),
        ("routers: {mf: {embedder: {api_key: sk-secret}}}", "env:NAME"),
        ("routers: {mf: {kind: mf, checkpoint: x}}", "one of them"),
        ("{[a]: b}", "not valid YAML"),
        ("models: &a {b: *a}", "contains itself"),
        ("server: {cors_origins: &a [*a]}", "contains itself"),
        ("policy: {strong_share: 30}", "policy.strong_share: is 30, wanted at most 1; did you mean 0.3?"),
        ("server: {port: sk-secret}", "server.port: wanted a valid integer"),
    ],
)
def test_a_malformed_file_says_what_is_wrong(tmp_path, text, problem):
    """Each kind of mistake has its own message."""
    with pytest.raises(ConfigError, match=problem) as caught:
        make_config(read_values(write(tmp_path, text)))
    assert "sk-secret" not in str(caught.value)
    assert "password" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    """A file that is not there is an error with its path."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        read_values(tmp_path / "nowhere.yaml")


def test_the_layout_of_routellm_is_read():
    """Top-level routers with checkpoint_path become routers; those that are not chosen are not looked at."""
    values = {"mf": {"checkpoint_path": "my/mf"}, "sw_ranking": {"arena_battle_datasets": ["x"]}}
    config = make_config(values, routers=["mf", "random"])
    assert config.routers == {"mf": RouterConfig(checkpoint="my/mf"), "random": RouterConfig()}
    with pytest.raises(ConfigError, match=r"routers\.sw_ranking\.arena_battle_datasets"):
        make_config(values)


def test_nothing_configured_means_the_bundled_router_and_the_stand_ins():
    """An empty configuration is a valid one."""
    config = make_config()
    assert list(config.routers) == ["mf"]
    assert config.strong is None
    assert config.server.host == "127.0.0.1"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))
sections = st.sampled_from(["strong", "weak", "models", "routers", "server", "mf", "x"])


@given(st.dictionaries(sections, trees, max_size=4))
def test_any_values_are_a_configuration_or_a_config_error(values):
    """No values make the reader fail in any other way."""
    try:
        config = make_config(values)
    except ConfigError:
        return
    assert isinstance(config, Config)


def test_aliases_of_aliases_are_refused_soon(tmp_path):
    """A few hundred bytes whose aliases stand for millions of values are refused instead of expanded."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="expand to more than 100,000 values"):
        read_values(path)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([repr, "{:e}".format, "{:.0E}".format, "{:g}".format]),
)
def test_numbers_are_numbers_however_they_are_written(number, written):
    """With an exponent too, as JSON and YAML 1.2 have them: 1e-06 is no text."""
    text = written(number)
    with TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(f'{{"usd": {text}}}', encoding="utf-8")
        assert read_mapping(path) == {"usd": float(text)}


FIELDS = [field for part in Part.__subclasses__() for field in part.model_fields.values()]
DEFAULTS = {type(field.default) for field in FIELDS if isinstance(field.default, Part)} | {ModelConfig, RouterConfig}


@pytest.mark.parametrize("part", sorted(DEFAULTS, key=lambda part: part.__name__))
def test_unchecked_defaults_pass_the_checks(part):
    """A part that stands where nothing is configured is what an empty mapping is read as."""
    assert len(DEFAULTS) > 8
    assert part.defaults() == part.model_validate({})
