"""Training and evaluation of Darknet models with PyTorch."""
