"""Clients of Anthropic's Messages API, answered by services of OpenAI's chat API."""
