"""ASGI bodies and streams, and the errors that a client is told."""
