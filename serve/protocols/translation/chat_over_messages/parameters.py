"""How OpenAI chat parameters translate to Anthropic's Messages API."""

from pointsman.serve.protocols.translation.parameters import Parameter, table

__all__ = ["PARAMETERS"]

_NO_PROBABILITIES = "it tells no probabilities"
_TEXT_ONLY = "its answers are text"
_AT_MOST_1 = "`temperature`, at most 1; dropped where the model takes none, as from 4.7 on"

PARAMETERS = table(
    Parameter("model", "translated", "the service's own name of the model"),
    Parameter("messages", "translated", "`messages` and `system`"),
    Parameter("max_tokens", "translated", "`max_tokens`"),
    Parameter("max_completion_tokens", "translated", "`max_tokens`"),
    Parameter("stream", "passed"),
    Parameter("stream_options", "translated", "read here: whether the stream tells its usage"),
    Parameter("temperature", "translated", _AT_MOST_1, idle=(1,)),
    Parameter("top_p", "passed", "dropped beside a temperature, and where the model takes none", idle=(1,)),
    Parameter("top_k", "passed", "of Anthropic's"),
    Parameter("stop", "translated", "`stop_sequences`; white space alone is refused", idle=([], "")),
    Parameter("tools", "translated", "`tools`; `strict` is dropped", idle=([],)),
    Parameter("tool_choice", "translated", "`tool_choice`"),
    Parameter("parallel_tool_calls", "translated", "`tool_choice.disable_parallel_tool_use`", idle=(True,)),
    Parameter("functions", "translated", "`tools`", idle=([],)),
    Parameter("function_call", "translated", "`tool_choice`"),
    Parameter("response_format", "translated", "`output_config.format`, or an instruction", idle=({"type": "text"},)),
    Parameter("reasoning_effort", "translated", "`thinking`, and `output_config.effort`; dropped where there is none"),
    Parameter("thinking", "passed", "of Anthropic's"),
    Parameter("user", "translated", "`metadata.user_id`, hashed where it is longer than 256 characters"),
    Parameter("safety_identifier", "translated", "`metadata.user_id`, likewise"),
    Parameter("cache_control", "passed", "of Anthropic's"),
    Parameter("seed", "dropped", "a hint: the same answer is not promised"),
    Parameter("verbosity", "dropped", "a hint"),
    Parameter("prediction", "dropped", "a hint"),
    Parameter("store", "dropped", "nothing is kept there to be fetched later"),
    Parameter("metadata", "dropped", "of what is kept at OpenAI"),
    Parameter("service_tier", "dropped", "a hint"),
    Parameter("prompt_cache_key", "dropped", "a hint"),
    Parameter("prompt_cache_options", "dropped", "a hint"),
    Parameter("prompt_cache_retention", "dropped", "a hint"),
    Parameter("n", "refused", "it gives one answer", idle=(1,)),
    Parameter("frequency_penalty", "refused", "it has no penalties", idle=(0,)),
    Parameter("presence_penalty", "refused", "it has no penalties", idle=(0,)),
    Parameter("logit_bias", "refused", "it takes no token ids", idle=({},)),
    Parameter("logprobs", "refused", _NO_PROBABILITIES, idle=(False,)),
    Parameter("top_logprobs", "refused", _NO_PROBABILITIES, idle=(0,)),
    Parameter("modalities", "refused", _TEXT_ONLY, idle=(["text"], [])),
    Parameter("audio", "refused", _TEXT_ONLY),
    Parameter("web_search_options", "refused", "OpenAI's search is not there"),
    Parameter("moderation", "refused", "OpenAI's moderation is not there"),
)
