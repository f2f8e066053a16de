"""The services behind the models: OpenAI's protocol passed through, LiteLLM for the others, and the stand-ins."""
