"""From sockets to handlers: the application, its processes, hot reload and the endpoints."""
