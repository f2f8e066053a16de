"""From a model string to the service that answers for it.

A string is `<prefix>/<model>` as LiteLLM spells it, or a bare model name, which is OpenAI's. Services that speak
OpenAI's protocol or Anthropic's are listed here with their URL and the variable that holds their key, and are asked
directly. The other prefixes go through LiteLLM.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from pointsman.core.errors import ConfigError
from pointsman.serve.config import ModelConfig
from pointsman.serve.config.secret import Secret, read_key

__all__ = ["Protocol", "Target", "resolve_target"]

Protocol: TypeAlias = Literal["openai", "anthropic", "litellm"]
_REFERENCE = "env:"


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one service.

    Attributes:
        name: what requests and decisions call the model.
        upstream_model: what the service calls it; for LiteLLM with its prefix.
        base_url: up to and with the version, without a trailing slash, with a query perhaps; None leaves it to LiteLLM.
        api_key: None where the service needs none.
        protocol: how it is asked; LiteLLM knows many.
        headers: of every request, beside those of the protocol.
        secrets: those of the headers' values that must not be shown.
    """

    name: str
    upstream_model: str
    base_url: str | None
    api_key: Secret | None
    protocol: Protocol = "openai"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[Secret, ...] = ()

    def url(self, path: str) -> str:
        """Where a path below the service's URL is asked."""
        base, mark, query = (self.base_url or "").partition("?")
        return f"{base}{path}{mark}{query}"

    @property
    def request_headers(self) -> dict[str, str]:
        """What every request must carry: the key as the protocol wants it, and the configured headers."""
        if self.api_key is None:
            return dict(self.headers)
        if self.protocol == "anthropic":
            return {"x-api-key": self.api_key.value, **self.headers}
        return {"authorization": f"Bearer {self.api_key.value}", **self.headers}

    def redact(self, data: bytes) -> bytes:
        """`data` without the key and the other secrets."""
        for secret in filter(None, (self.api_key, *self.secrets)):
            data = secret.redact(data)
        return data


@dataclass(frozen=True, slots=True)
class _Provider:
    base_url: str | None
    key_variables: tuple[str, ...] = ()
    base_variables: tuple[str, ...] = ()
    needs_key: bool = True
    path: str = ""
    protocol: Protocol = "openai"


_PROVIDERS = {
    "openai": _Provider("https://api.openai.com/v1", ("OPENAI_API_KEY",), ("OPENAI_BASE_URL", "OPENAI_API_BASE")),
    "anthropic": _Provider(
        "https://api.anthropic.com/v1",
        ("ANTHROPIC_API_KEY",),
        ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE"),
        path="/v1",
        protocol="anthropic",
    ),
    "openrouter": _Provider("https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",), ("OPENROUTER_API_BASE",)),
    "groq": _Provider("https://api.groq.com/openai/v1", ("GROQ_API_KEY",), ("GROQ_API_BASE",)),
    "together_ai": _Provider("https://api.together.xyz/v1", ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY")),
    "mistral": _Provider("https://api.mistral.ai/v1", ("MISTRAL_API_KEY",), ("MISTRAL_API_BASE",)),
    "deepseek": _Provider("https://api.deepseek.com/v1", ("DEEPSEEK_API_KEY",), ("DEEPSEEK_API_BASE",)),
    "fireworks_ai": _Provider(
        "https://api.fireworks.ai/inference/v1", ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"), ("FIREWORKS_API_BASE",)
    ),
    "perplexity": _Provider("https://api.perplexity.ai", ("PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY")),
    "xai": _Provider("https://api.x.ai/v1", ("XAI_API_KEY",), ("XAI_API_BASE",)),
    "cerebras": _Provider("https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",), ("CEREBRAS_API_BASE",)),
    "deepinfra": _Provider("https://api.deepinfra.com/v1/openai", ("DEEPINFRA_API_KEY",), ("DEEPINFRA_API_BASE",)),
    "nvidia_nim": _Provider("https://integrate.api.nvidia.com/v1", ("NVIDIA_NIM_API_KEY",), ("NVIDIA_NIM_API_BASE",)),
    "sambanova": _Provider("https://api.sambanova.ai/v1", ("SAMBANOVA_API_KEY",), ("SAMBANOVA_API_BASE",)),
    "moonshot": _Provider("https://api.moonshot.ai/v1", ("MOONSHOT_API_KEY",), ("MOONSHOT_API_BASE",)),
    "gemini": _Provider("https://generativelanguage.googleapis.com/v1beta/openai", ("GEMINI_API_KEY",)),
    "ollama": _Provider("http://localhost:11434/v1", (), ("OLLAMA_API_BASE",), needs_key=False, path="/v1"),
    "ollama_chat": _Provider("http://localhost:11434/v1", (), ("OLLAMA_API_BASE",), needs_key=False, path="/v1"),
    "hosted_vllm": _Provider(None, ("HOSTED_VLLM_API_KEY",), ("HOSTED_VLLM_API_BASE",), needs_key=False),
    "vllm": _Provider(None, ("HOSTED_VLLM_API_KEY",), ("HOSTED_VLLM_API_BASE",), needs_key=False),
    "lm_studio": _Provider(
        "http://localhost:1234/v1", ("LM_STUDIO_API_KEY",), ("LM_STUDIO_API_BASE",), needs_key=False
    ),
    "llamafile": _Provider("http://127.0.0.1:8080/v1", (), ("LLAMAFILE_API_BASE",), needs_key=False),
}
_MAKERS = {  # how names of models begin that OpenAI does not have, and who has them
    "claude-": "anthropic",
    "gemini-": "gemini",
    "mistral-": "mistral",
    "deepseek-": "deepseek",
    "grok-": "xai",
}
_LITELLM_PREFIXES = frozenset(
    [
        "ai21",
        "azure",
        "azure_ai",
        "azure_text",
        "baseten",
        "bedrock",
        "bedrock_converse",
        "clarifai",
        "cloudflare",
        "codestral",
        "cohere",
        "cohere_chat",
        "databricks",
        "dashscope",
        "datarobot",
        "friendliai",
        "github",
        "github_copilot",
        "heroku",
        "huggingface",
        "litellm_proxy",
        "meta_llama",
        "minimax",
        "nebius",
        "nlp_cloud",
        "novita",
        "nscale",
        "oci",
        "ovhcloud",
        "petals",
        "predibase",
        "replicate",
        "sagemaker",
        "sagemaker_chat",
        "sap",
        "snowflake",
        "text-completion-openai",
        "triton",
        "v0",
        "vercel_ai_gateway",
        "vertex_ai",
        "vertex_ai_beta",
        "volcengine",
        "watsonx",
        "xinference",
        "zai",
    ]
)


def resolve_target(
    name: str, config: ModelConfig, *, default_base_url: str | None = None, default_key: Secret | None = None
) -> Target:
    """The service that answers for a configured model.

    A model with a URL, its own or the default one, is asked there: by exactly `config.model` where that is given, else
    by the name without a prefix of the table above. Without a URL the model string decides. The protocol is OpenAI's
    unless `config.provider`, or the string of a model without a URL, says otherwise.

    Args:
        default_base_url: URL of OpenAI's protocol for a model string that has none of its own (`--base-url`).
        default_key: key for a model that names none (`--api-key`).

    Raises:
        ConfigError: the prefix is unknown, or a URL or key is missing; the message says where it was looked for.
    """
    target = _resolve(name, config, default_base_url, default_key)
    headers, secrets = _read_headers(name, config)
    return replace(target, headers=headers, secrets=secrets)


def _resolve(name: str, config: ModelConfig, default_base_url: str | None, default_key: Secret | None) -> Target:
    string = config.model or name
    prefix, slash, rest = string.partition("/")
    provider = _PROVIDERS.get(prefix) if slash else None
    key = read_key(config.api_key) if config.api_key else default_key
    url = config.base_url or (None if config.provider == "anthropic" else default_base_url)
    if config.provider == "litellm" or (
        config.provider is None and url is None and prefix in _LITELLM_PREFIXES and slash
    ):
        return Target(name, string, url, key, "litellm")
    if url is not None:
        verbatim = config.base_url is not None and config.model is not None
        model = string if verbatim or provider is None else rest
        return Target(name, model, _stripped(url), key, config.provider or "openai")
    if config.provider == "anthropic":
        model = rest if prefix == "anthropic" and slash else string
        return _at_provider(name, model, _PROVIDERS["anthropic"], key)
    if slash and provider is None:
        raise ConfigError(
            f"model {name!r}: {prefix!r} is not a known provider; wanted one of {', '.join(sorted(_PROVIDERS))}, "
            "one of LiteLLM's (azure, bedrock, vertex_ai, ...), or a base_url"
        )
    if not slash and config.provider is None:
        _check_maker(name, string)
    return _at_provider(name, rest if slash else string, provider or _PROVIDERS["openai"], key)


def _check_maker(name: str, model: str) -> None:
    """Refuses a model without a provider that is known to be another maker's, where OpenAI itself would be asked."""
    maker = next((its for begin, its in _MAKERS.items() if model.startswith(begin)), None)
    openai = _PROVIDERS["openai"]
    if maker is not None and _base_url(name, openai) == openai.base_url:
        raise ConfigError(
            f"model {name!r} names no provider, and OpenAI has no such model; did you mean {maker}/{model}? "
            "Wanted PROVIDER/MODEL, or a base_url"
        )


def _at_provider(name: str, model: str, provider: _Provider, key: Secret | None) -> Target:
    return Target(name, model, _base_url(name, provider), key or _provider_key(name, provider), provider.protocol)


def _stripped(url: str) -> str:
    base, mark, query = url.partition("?")
    return base.rstrip("/") + mark + query


def _read_headers(name: str, config: ModelConfig) -> tuple[dict[str, str], tuple[Secret, ...]]:
    """The configured headers, and those of their values that came from the environment."""
    headers, secrets = {}, []
    for header, value in config.headers.items():
        if value.startswith(_REFERENCE):
            try:
                secret = read_key(value)
            except ConfigError as error:
                raise ConfigError(f"models.{name}.headers.{header}: {error}") from error
            secrets.append(secret)
            value = secret.value
        headers[header.lower()] = value
    return headers, tuple(secrets)


def _base_url(name: str, provider: _Provider) -> str:
    for variable in provider.base_variables:
        if url := os.environ.get(variable, "").strip().rstrip("/"):
            return url if not provider.path or url.endswith(provider.path) else url + provider.path
    if provider.base_url is None:
        raise ConfigError(
            f"model {name!r} needs a base_url: set it in the config file, or {provider.base_variables[0]}"
        )
    return provider.base_url


def _provider_key(name: str, provider: _Provider) -> Secret | None:
    for variable in provider.key_variables:
        if os.environ.get(variable, "").strip():
            return read_key(f"env:{variable}")
    if provider.needs_key:
        raise ConfigError(
            f"model {name!r} needs an API key: set {' or '.join(provider.key_variables)} in the environment, "
            "name another variable as api_key (env:NAME) in the config file, or pass --api-key"
        )
    return None
