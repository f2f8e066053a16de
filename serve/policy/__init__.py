"""The rules that set the threshold, and what they remember."""
