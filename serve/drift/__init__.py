"""Watches whether live prompts are still like those that a router was calibrated on."""
