"""The rules that set the threshold, and their state."""
