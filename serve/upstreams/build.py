"""Builds the upstreams of the configured models; client libraries are imported only when needed."""

from collections.abc import Callable, Sequence

from pointsman.core.errors import ConfigError
from pointsman.serve.config import Config, ModelConfig, TimeoutConfig
from pointsman.serve.config.secret import Secret
from pointsman.serve.upstreams.base import Upstream
from pointsman.serve.upstreams.include_usage import AskingForUsage
from pointsman.serve.upstreams.own_thoughts import OwnThoughts
from pointsman.serve.upstreams.parameters import WithParameters
from pointsman.serve.upstreams.providers import Target, resolve_target
from pointsman.serve.upstreams.stand_in import StandIn
from pointsman.serve.upstreams.token_counting import CountingTokens

__all__ = ["build_upstreams"]

_OPENAI_PATHS = ("/chat/completions", "/responses", "/responses/compact", "/embeddings")
_ANTHROPIC_PATHS = ("/messages", "/messages/count_tokens")
_LITELLM_PATHS = ("/chat/completions", "/embeddings")


def build_upstreams(
    config: Config, candidates: Sequence[str], *, base_url: str | None, api_key: Secret | None
) -> dict[str, Upstream]:
    """The upstreams by model name, the candidates first, in order; the stand-ins if none is configured.

    Args:
        candidates: the models to route among.
        base_url, api_key: for the models that name none themselves.

    Raises:
        ConfigError: listing every model that cannot be resolved.
    """
    stand_ins = () if config.routed else candidates
    built: dict[str, Upstream] = {name: StandIn(name) for name in stand_ins}
    targets = _targets(config, base_url, api_key)
    direct = [target for target in targets if target.protocol != "litellm"]
    if direct:
        from pointsman.serve.upstreams.anthropic import AnthropicUpstream
        from pointsman.serve.upstreams.http_client.pool import ConnectionPool
        from pointsman.serve.upstreams.openai import OpenAIUpstream

        pool = ConnectionPool()
        for target in direct:
            if target.protocol == "anthropic":
                native: Upstream = AnthropicUpstream(target, pool, _timeouts(config, target))
                built[target.name] = _translated(native, target, _ANTHROPIC_PATHS)
            else:
                native = _told_usage(OpenAIUpstream(target, pool, _timeouts(config, target)), target, config)
                built[target.name] = _translated(native, target, _OPENAI_PATHS)
    if len(direct) < len(targets):
        from pointsman.serve.upstreams.translated.litellm import LiteLLMUpstream

        for target in targets:
            if target.protocol == "litellm":
                litellm = LiteLLMUpstream(target, _timeouts(config, target))
                native = _told_usage(litellm, target, config)
                built[target.name] = _translated(native, target, _LITELLM_PATHS, speaks=litellm.speaks)
    set_up = {name: _with_parameters(upstream, config.models.get(name)) for name, upstream in built.items()}
    return {name: CountingTokens(OwnThoughts(name, set_up[name])) for name in dict.fromkeys((*candidates, *set_up))}


def _with_parameters(upstream: Upstream, model: ModelConfig | None) -> Upstream:
    """The upstream, with the model's configured parameters added to its requests."""
    if model is None or not model.parameters:
        return upstream
    return WithParameters(upstream, model.parameters, override=model.override)


def _told_usage(upstream: Upstream, target: Target, config: Config) -> Upstream:
    """The upstream, with usage in its chat streams unless configured otherwise."""
    asks = config.settings_of(target.name).include_usage == "auto"
    return AskingForUsage(target.name, upstream) if asks else upstream


def _translated(
    native: Upstream, target: Target, paths: tuple[str, ...], *, speaks: Callable[[str], bool] | None = None
) -> Upstream:
    from pointsman.serve.upstreams.translated.translator import Directions, Translator

    return Translator(native, target.name, Directions(target), paths=paths, speaks=speaks)


def _targets(config: Config, base_url: str | None, api_key: Secret | None) -> list[Target]:
    targets, problems = [], []
    for name in dict.fromkeys([*config.routed, *config.models]):
        model = config.settings_of(name)
        try:
            targets.append(resolve_target(name, model, default_base_url=base_url, default_key=api_key))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n  ".join(["the models cannot be served:", *problems]))
    return targets


def _timeouts(config: Config, target: Target) -> TimeoutConfig:
    return config.settings_of(target.name).timeouts
