"""The application: command line, controller, HTTP server, upstreams."""
