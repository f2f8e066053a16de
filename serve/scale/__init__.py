"""Beyond one machine: the server on Ray Serve, and the decision for Envoy."""
