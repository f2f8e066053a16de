"""How OpenAI Responses parameters translate to Anthropic's Messages API."""

from pointsman.serve.protocols.translation.parameters import Parameter, table

__all__ = ["PARAMETERS"]

_HELD = "what OpenAI's API holds is not there"
_AT_MOST_1 = "`temperature`, at most 1; dropped where the model takes none, as from 4.7 on"

PARAMETERS = table(
    Parameter("model", "translated", "the service's own name of the model"),
    Parameter("input", "translated", "`messages` and `system`"),
    Parameter("instructions", "translated", "`system`"),
    Parameter("max_output_tokens", "translated", "`max_tokens`"),
    Parameter("stream", "passed"),
    Parameter("temperature", "translated", _AT_MOST_1, idle=(1,)),
    Parameter("top_p", "passed", "dropped beside a temperature, and where the model takes none", idle=(1,)),
    Parameter("tools", "translated", "`tools`: functions, custom tools and web search; others are refused", idle=([],)),
    Parameter("tool_choice", "translated", "`tool_choice`"),
    Parameter("parallel_tool_calls", "translated", "`tool_choice.disable_parallel_tool_use`", idle=(True,)),
    Parameter("text", "translated", "`output_config.format`, or an instruction; its verbosity is dropped"),
    Parameter("reasoning", "translated", "`thinking`, and `output_config.effort`; dropped where there is none"),
    Parameter("include", "translated", "encrypted reasoning is always told; others are dropped"),
    Parameter("user", "translated", "`metadata.user_id`, hashed where it is longer than 256 characters"),
    Parameter("safety_identifier", "translated", "`metadata.user_id`, likewise"),
    Parameter("metadata", "translated", "told again in the answer"),
    Parameter("store", "dropped", "nothing is kept to be fetched later"),
    Parameter("stream_options", "dropped", "a hint"),
    Parameter("max_tool_calls", "dropped", "of tools that OpenAI runs"),
    Parameter("service_tier", "dropped", "a hint"),
    Parameter("truncation", "dropped", "a hint: the whole input is sent"),
    Parameter("context_management", "dropped", "a hint: the whole input is sent"),
    Parameter("prompt_cache_key", "dropped", "a hint"),
    Parameter("prompt_cache_options", "dropped", "a hint"),
    Parameter("prompt_cache_retention", "dropped", "a hint"),
    Parameter("client_metadata", "dropped", "of Codex, for OpenAI"),
    Parameter("background", "refused", _HELD, idle=(False,)),
    Parameter("background_options", "refused", _HELD),
    Parameter("conversation", "refused", _HELD),
    Parameter("previous_response_id", "refused", _HELD),
    Parameter("prompt", "refused", _HELD),
    Parameter("top_logprobs", "refused", "it tells no probabilities", idle=(0,)),
    Parameter("access_programs", "refused", "OpenAI's programs are not there"),
    Parameter("image", "refused", "it makes no images"),
    Parameter("moderation", "refused", "OpenAI's moderation is not there"),
)
