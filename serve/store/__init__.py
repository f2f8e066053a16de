"""The store: what is kept of requests, feedback, keys and spend, in SQLite or PostgreSQL."""
