"""LiteLLM's function for Anthropic's Messages API."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

__all__ = ["messages_function"]

_HANDLER = "litellm.llms.anthropic.pass_through.adapters.handler"


def messages_function(litellm: Any, model: str, provider: str) -> Callable[..., Any]:
    """Asks a model of a provider in the words of the Messages API.

    Providers that speak it are asked by LiteLLM's public function. Its way to the others forgets that no tool servers
    are to be asked, and then fails for want of the package `mcp`; so their translation is called directly.
    """
    public: Callable[..., Any] = litellm.anthropic_messages
    config = litellm.utils.ProviderConfigManager.get_provider_anthropic_messages_config
    if provider in litellm.provider_list and config(model=model, provider=litellm.LlmProviders(provider)):
        return public
    try:
        handler = import_module(_HANDLER).LiteLLMMessagesToCompletionTransformationHandler
    except (ModuleNotFoundError, AttributeError):  # another version of LiteLLM
        return public
    # Without a router of its own it would look for LiteLLM's proxy, which takes a second and more.
    return partial(handler.async_anthropic_messages_handler, litellm_router=_NoRouter())


class _NoRouter:
    """Stands where LiteLLM would look for its proxy's router."""
