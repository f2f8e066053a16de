"""Language models in PyTorch: training, export, inference."""
