"""The OpenAPI document: paths, requests and answers."""
