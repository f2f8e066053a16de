"""What routers that read text share, whatever runs them: tokens, examples, labels, templates, checkpoints."""
