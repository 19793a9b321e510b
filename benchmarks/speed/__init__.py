"""Times of parts beside plain PyTorch, in turns."""
