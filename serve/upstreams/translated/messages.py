"""Whether LiteLLM calls a provider's model through Anthropic's Messages API."""

from typing import Any

__all__ = ["speaks_messages"]


def speaks_messages(litellm: Any, model: str, provider: str) -> bool:
    """Whether the provider has that API for the model: Claude at Bedrock or Vertex AI. Others are called by chat."""
    config = litellm.utils.ProviderConfigManager.get_provider_anthropic_messages_config
    known = provider in litellm.provider_list
    return bool(known and config(model=model, provider=litellm.LlmProviders(provider)))
