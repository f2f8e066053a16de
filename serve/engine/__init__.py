"""Decides which model answers a request, and gets the answer."""
