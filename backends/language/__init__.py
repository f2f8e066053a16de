"""Shared by routers that read text, in any framework: tokens, examples, labels, templates, checkpoints."""
