"""The store of requests, feedback, keys and spending, in SQLite or PostgreSQL."""
