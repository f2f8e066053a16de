"""The HTTP client: connections, their pool, destinations and proxies."""
