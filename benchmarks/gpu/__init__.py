"""Frames on an NVIDIA GPU, every arm in turns with PyTorch."""
