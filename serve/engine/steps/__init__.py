"""The steps of the routing pipeline, one per file."""
