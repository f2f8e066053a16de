"""Checkpoints: loaded, shared between processes, promoted and rolled back."""
