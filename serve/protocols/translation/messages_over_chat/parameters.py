"""How Anthropic Messages parameters translate to OpenAI's chat API."""

from pointsman.serve.protocols.translation.parameters import Parameter, table

__all__ = ["PARAMETERS"]

_HELD = "it is held by Anthropic's API"

PARAMETERS = table(
    Parameter("model", "translated", "the service's own name of the model"),
    Parameter("messages", "translated", "`messages`"),
    Parameter("system", "translated", "the first of `messages`"),
    Parameter("max_tokens", "translated", "`max_tokens`; `max_completion_tokens` at OpenAI and Azure"),
    Parameter("stream", "passed"),
    Parameter("temperature", "passed", "dropped where the model takes no other than its own", idle=(1,)),
    Parameter("top_p", "passed", "dropped where the model takes no other than its own", idle=(1,)),
    Parameter("top_k", "passed", "dropped at OpenAI and Azure, and where the service refuses it"),
    Parameter("stop_sequences", "translated", "`stop`; more than four are refused at OpenAI and Azure", idle=([],)),
    Parameter("tools", "translated", "`tools`; those that Anthropic runs are refused", idle=([],)),
    Parameter("tool_choice", "translated", "`tool_choice` and `parallel_tool_calls`"),
    Parameter("thinking", "translated", "`reasoning_effort` by its budget; dropped where the model knows none"),
    Parameter("output_config", "translated", "`reasoning_effort` by its effort, `response_format` by its format"),
    Parameter("output_format", "translated", "`response_format`"),
    Parameter("metadata", "translated", "`user`, hashed where it is longer than 64 characters"),
    Parameter("cache_control", "dropped", "a hint"),
    Parameter("context_management", "dropped", "a hint: the whole context is sent"),
    Parameter("compaction", "dropped", "a hint: the whole context is sent"),
    Parameter("service_tier", "dropped", "a hint"),
    Parameter("speed", "dropped", "a hint"),
    Parameter("diagnostics", "dropped", "a hint"),
    Parameter("betas", "dropped", "a hint"),
    Parameter("billing_policy", "dropped", "of an account at Anthropic"),
    Parameter("fallbacks", "dropped", "of models at Anthropic; `fallbacks` here are configured"),
    Parameter("fallback_credit_token", "dropped", "of an account at Anthropic"),
    Parameter("user_profile_id", "dropped", "of an account at Anthropic"),
    Parameter("workspace_id", "dropped", "of an account at Anthropic"),
    Parameter("container", "refused", _HELD),
    Parameter("mcp_servers", "refused", "only Anthropic's API calls them", idle=([],)),
    Parameter("thread", "refused", _HELD),
    Parameter("inference_geo", "refused", "where the answer is made cannot be promised"),
)
