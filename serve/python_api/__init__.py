"""The same routing in Python, without a server."""
