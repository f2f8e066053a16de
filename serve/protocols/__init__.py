"""The client-facing protocols: requests, event streams, usage and errors of each API."""
