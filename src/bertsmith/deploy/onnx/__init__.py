"""Models as ONNX graphs, which ONNX Runtime answers by without torch."""
