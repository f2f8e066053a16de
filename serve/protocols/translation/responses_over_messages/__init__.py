"""Clients of OpenAI's Responses API, answered by services of Anthropic's Messages API."""
