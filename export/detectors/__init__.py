"""Detectors, pose and mask models: where they come from, and how they become ONNX."""
