"""Access keys, rate limits, and which web pages may ask."""
