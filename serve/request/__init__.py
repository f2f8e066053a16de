"""What one request is: its context, record, conversation and ids."""
