"""Training: the .cfg as a PyTorch module, its loss, its data and its loop."""
