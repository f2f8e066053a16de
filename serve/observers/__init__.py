"""Who watches finished requests: logs, metrics, traces and the live view."""
