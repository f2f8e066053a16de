"""Services that do not speak the client's protocol, through LiteLLM."""
