"""Clients of OpenAI's chat API, answered by services of Anthropic's Messages API."""
