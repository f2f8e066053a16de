"""Inference with onnxruntime, and what prepares a graph for it."""
