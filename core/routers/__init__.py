"""The router kinds that need nothing but NumPy."""
