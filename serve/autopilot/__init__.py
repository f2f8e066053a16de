"""The autopilot: comparisons in, certified savings out."""
