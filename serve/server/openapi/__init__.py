"""The OpenAPI document: which paths there are, what they take and what they answer."""
