"""What requests cost, and what routing saved."""
