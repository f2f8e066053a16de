"""Observers of finished requests: logs, metrics, traces and the live view."""
