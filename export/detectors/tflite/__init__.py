"""Models that are published as TFLite files, as ONNX graphs."""
