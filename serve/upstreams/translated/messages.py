"""Whether LiteLLM asks a model of a provider in the words of Anthropic's Messages API."""

from typing import Any

__all__ = ["speaks_messages"]


def speaks_messages(litellm: Any, model: str, provider: str) -> bool:
    """Whether the provider speaks it for that model: Claude at Bedrock or Vertex AI. The others are asked by chat."""
    config = litellm.utils.ProviderConfigManager.get_provider_anthropic_messages_config
    known = provider in litellm.provider_list
    return bool(known and config(model=model, provider=litellm.LlmProviders(provider)))
