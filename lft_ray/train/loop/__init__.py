"""The training loop and its parts. Plain PyTorch, no Ray."""
