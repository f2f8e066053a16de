"""The services behind the models: OpenAI's and Anthropic's protocols passed through, LiteLLM, and the stand-ins."""
