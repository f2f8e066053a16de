"""Routing mathematics and the checkpoint format: NumPy only, no framework, no I/O but checkpoint files."""
