"""Figures with matplotlib (`pointsman[plot]`)."""
