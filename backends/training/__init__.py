"""The parts of training that need no framework."""
