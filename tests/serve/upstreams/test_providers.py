"""From model strings to services."""

import pytest
from pydantic import ValidationError

from pointsman.core.errors import ConfigError
from pointsman.serve.config import ModelConfig
from pointsman.serve.config.secret import Secret
from pointsman.serve.upstreams.providers import resolve_target

VARIABLES = ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "GROQ_API_KEY", "GROQ_API_BASE", "OLLAMA_API_BASE"]
VARIABLES += ["HOSTED_VLLM_API_BASE", "HOSTED_VLLM_API_KEY", "MY_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def resolve(name, *, base_url=None, key=None, **config):
    return resolve_target(name, ModelConfig(**config), default_base_url=base_url, default_key=key)


@pytest.mark.parametrize(
    ("name", "url", "model"),
    [
        ("gpt-4o", "https://api.openai.com/v1", "gpt-4o"),
        ("openai/gpt-4o", "https://api.openai.com/v1", "gpt-4o"),
        ("groq/llama-3.1-8b-instant", "https://api.groq.com/openai/v1", "llama-3.1-8b-instant"),
    ],
)
def test_a_prefix_names_a_service_and_its_key(monkeypatch, name, url, model):
    """Known services are asked directly, with the key from the variable that their users set; no prefix is OpenAI."""
    monkeypatch.setenv("OPENAI_API_KEY", "o")
    monkeypatch.setenv("GROQ_API_KEY", "g")
    target = resolve(name)
    assert (target.name, target.base_url, target.upstream_model, target.protocol) == (name, url, model, "openai")
    assert target.api_key.value == ("g" if name.startswith("groq") else "o")


def test_local_services_need_no_key(monkeypatch):
    """Ollama has a default URL, vLLM needs one; neither needs a key."""
    target = resolve("ollama/llama3.1")
    assert (target.base_url, target.api_key, target.upstream_model) == ("http://localhost:11434/v1", None, "llama3.1")
    monkeypatch.setenv("OLLAMA_API_BASE", "http://gpu:11434/")
    assert resolve("ollama/llama3.1").base_url == "http://gpu:11434/v1"
    with pytest.raises(ConfigError, match="HOSTED_VLLM_API_BASE"):
        resolve("hosted_vllm/meta-llama/Llama-3-8B")
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "http://gpu:8000/v1/")
    target = resolve("hosted_vllm/meta-llama/Llama-3-8B")
    assert (target.base_url, target.upstream_model) == ("http://gpu:8000/v1", "meta-llama/Llama-3-8B")


def test_a_url_is_asked_in_openais_protocol(monkeypatch):
    """With a URL no provider is guessed, and no other service's key is sent there."""
    monkeypatch.setenv("OPENAI_API_KEY", "not for strangers")
    target = resolve("org/some-model", base_url="http://proxy/v1/", key=Secret("flag", "k"))
    assert (target.base_url, target.upstream_model, target.api_key.value) == ("http://proxy/v1", "org/some-model", "k")
    assert resolve("openai/x", base_url="http://proxy/v1").upstream_model == "x"
    assert resolve("openai/x", base_url="http://proxy/v1").api_key is None
    assert resolve("big", base_url="http://proxy/v1", model="openai/x").upstream_model == "x"
    own = resolve_target(
        "big", ModelConfig(base_url="http://own/v1", model="openai/x"), default_base_url="http://other"
    )
    assert (own.base_url, own.upstream_model) == ("http://own/v1", "openai/x")


def test_keys_of_the_configuration_come_first(monkeypatch):
    """api_key: env:NAME beats the key of the command line, which beats the provider's variable."""
    monkeypatch.setenv("OPENAI_API_KEY", "third")
    monkeypatch.setenv("MY_KEY", "first")
    second = Secret("flag", "second")
    assert resolve("gpt-4o", key=second, api_key="env:MY_KEY").api_key.value == "first"
    assert resolve("gpt-4o", key=second).api_key.value == "second"
    assert resolve("gpt-4o").api_key.value == "third"


def test_what_speaks_another_protocol_goes_through_litellm():
    """Bedrock and its like keep their prefix, which LiteLLM reads; so does what is configured so."""
    for name in ("bedrock/anthropic.claude", "azure/deployment"):
        target = resolve(name)
        assert (target.protocol, target.upstream_model, target.base_url) == ("litellm", name, None)
    assert resolve("x", model="openai/gpt-4o", provider="litellm").protocol == "litellm"


def test_anthropic_is_asked_in_its_own_protocol(monkeypatch):
    """By its prefix, or by `provider: anthropic` with any URL; its key goes where its protocol wants it."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a")
    for name, config in (("anthropic/claude", {}), ("x", {"provider": "anthropic", "model": "claude"})):
        target = resolve(name, **config)
        assert (target.protocol, target.upstream_model) == ("anthropic", "claude")
        assert target.url("/messages") == "https://api.anthropic.com/v1/messages"
        assert target.request_headers == {"x-api-key": "a"}
    own = resolve_target("x", ModelConfig(provider="anthropic", model="claude", base_url="http://proxy/v1/"))
    assert (own.protocol, own.url("/messages"), own.api_key) == ("anthropic", "http://proxy/v1/messages", None)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://proxy")
    assert resolve("anthropic/claude").base_url == "http://proxy/v1"
    assert resolve("anthropic/claude", base_url="http://other/v1").protocol == "openai"


def test_headers_and_a_query_belong_to_every_request(monkeypatch):
    """Azure's `api-key` and `api-version`, say; a value from the environment is not shown."""
    monkeypatch.setenv("MY_KEY", "azure-secret")
    target = resolve(
        "gpt",
        model="deployment",
        base_url="https://x.openai.azure.com/openai/v1/?api-version=preview",
        headers={"api-key": "env:MY_KEY", "X-Team": "routing"},
    )
    assert target.url("/responses") == "https://x.openai.azure.com/openai/v1/responses?api-version=preview"
    assert target.request_headers == {"api-key": "azure-secret", "x-team": "routing"}
    assert "azure-secret" not in repr(target)
    assert target.redact(b"no: azure-secret, routing") == b"no: [redacted], routing"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match=r"models\.gpt\.headers\.api-key: .*MY_KEY is not set"):
        resolve("gpt", base_url="http://x/v1", headers={"api-key": "env:MY_KEY"})


@pytest.mark.parametrize("headers", [{"Host": "x"}, {"content-length": "1"}, {"a b": "x"}, {"a": "x\ny"}, {"a": 1}])
def test_headers_that_would_break_a_request_are_refused(headers):
    """What the server itself must set, and what no header can carry."""
    with pytest.raises(ValidationError):
        ModelConfig(headers=headers)


@pytest.mark.parametrize(
    ("name", "config", "problem"),
    [
        ("gpt-4o", {}, "OPENAI_API_KEY"),
        ("gpt-4o", {"api_key": "env:MY_KEY"}, "MY_KEY is not set"),
        ("anthropic/claude", {}, "ANTHROPIC_API_KEY"),
        ("together_ai/x", {}, "TOGETHERAI_API_KEY or TOGETHER_API_KEY"),
        ("meta-llama/Llama", {}, "is not a known provider"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, name, config, problem):
    """An unknown prefix or a missing key says where it was looked for."""
    monkeypatch.delenv("TOGETHERAI_API_KEY", raising=False)
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=problem):
        resolve(name, **config)


def test_the_provider_of_a_well_known_model_is_suggested(monkeypatch):
    """Where OpenAI would be asked for it; a gateway at OPENAI_BASE_URL may have it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    for model, meant in (("claude-sonnet-4", "anthropic/claude-sonnet-4"), ("gemini-2.5-pro", "gemini/gemini-2.5-pro")):
        with pytest.raises(ConfigError, match=f"did you mean {meant}"):
            resolve_target(model, ModelConfig())
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gateway.invalid/v1")
    assert resolve_target("claude-sonnet-4", ModelConfig()).upstream_model == "claude-sonnet-4"


def test_a_key_does_not_show_itself(monkeypatch):
    """Neither the repr of a target nor the message about a malformed key holds the key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert "sk-secret" not in repr(resolve("gpt-4o"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\nx")
    with pytest.raises(ConfigError) as caught:
        resolve("gpt-4o")
    assert "sk-secret" not in str(caught.value)
