"""Routers that ask a model behind an OpenAI-compatible endpoint."""
