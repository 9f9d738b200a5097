"""fastkokoro, a speech server for Kokoro on ONNX Runtime, in an environment of its own."""
