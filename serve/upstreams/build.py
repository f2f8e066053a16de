"""From the configured models to their upstreams; the client libraries are imported where one is needed."""

from pointsman.core.errors import ConfigError
from pointsman.core.pair import ModelPair
from pointsman.serve.config import Config, ModelConfig, TimeoutConfig
from pointsman.serve.config.secret import Secret
from pointsman.serve.upstreams.base import Upstream
from pointsman.serve.upstreams.include_usage import AskingForUsage
from pointsman.serve.upstreams.providers import Target, resolve_target
from pointsman.serve.upstreams.stand_in import StandIn

__all__ = ["build_upstreams"]


def build_upstreams(
    config: Config, pair: ModelPair, *, base_url: str | None, api_key: Secret | None
) -> dict[str, Upstream]:
    """The upstreams by model name, the strong one first, then the weak one; the stand-ins where none is configured.

    Args:
        base_url, api_key: for the models that name none themselves.

    Raises:
        ConfigError: listing every model that cannot be resolved.
    """
    stand_ins = () if config.strong else (pair.strong, pair.weak)
    built: dict[str, Upstream] = {name: StandIn(name) for name in stand_ins}
    targets = _targets(config, base_url, api_key)
    direct = [target for target in targets if target.protocol != "litellm"]
    if direct:
        from pointsman.serve.upstreams.anthropic import AnthropicUpstream
        from pointsman.serve.upstreams.http_client.pool import ConnectionPool
        from pointsman.serve.upstreams.openai import OpenAIUpstream
        from pointsman.serve.upstreams.translated.translator import Translator

        pool = ConnectionPool()
        for target in direct:
            native = AnthropicUpstream if target.protocol == "anthropic" else OpenAIUpstream
            built[target.name] = Translator(native(target, pool, _timeouts(config, target)), target)
    if len(direct) < len(targets):
        from pointsman.serve.upstreams.translated.litellm import LiteLLMUpstream

        built |= {t.name: LiteLLMUpstream(t, _timeouts(config, t)) for t in targets if t.protocol == "litellm"}
    for target in targets:
        if config.models.get(target.name, ModelConfig()).include_usage == "auto":
            built[target.name] = AskingForUsage(target.name, built[target.name])
    return {name: built[name] for name in dict.fromkeys((pair.strong, pair.weak, *built))}


def _targets(config: Config, base_url: str | None, api_key: Secret | None) -> list[Target]:
    targets, problems = [], []
    for name in dict.fromkeys([*filter(None, (config.strong, config.weak)), *config.models]):
        model = config.models.get(name, ModelConfig())
        try:
            targets.append(resolve_target(name, model, default_base_url=base_url, default_key=api_key))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n  ".join(["the models cannot be served:", *problems]))
    return targets


def _timeouts(config: Config, target: Target) -> TimeoutConfig:
    return config.models.get(target.name, ModelConfig()).timeouts
