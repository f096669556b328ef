"""What was aimed at, and why a workload is slower than that. Written by hand; `python -m benchmarks table` prints it."""

# Ratio to PyTorch's eager mode with two threads: what the arrays were to reach, set on a processor with AVX-512, where
# NumPy's exp and tanh are twice as fast as with AVX2, and PyTorch's products gain less than its loops.
TARGETS = {
    "tiny_ops": 0.45, "mlp_tiny": 0.40, "mlp_mnist": 1.2, "conv3x3": 2.0, "conv5x5": 1.9, "conv_stride2": 1.7,
    "conv1x1": 1.05, "lenet": 1.5, "lstm": 1.9, "gru": 0.9, "attention_128": 1.5, "attention_1024": 1.5,
    "layer_norm": 4.5, "batch_norm2d": 2.5, "cross_entropy_10": 0.3, "cross_entropy_5000": 1.0, "gelu": 1.4,
    "elementwise": 2.0, "max_pool": 0.75, "embedding": 1.4, "adam": 0.7, "gpt": 1.5, "unet": 1.8,
}
COMPILED_TARGETS = {"layer_norm": 1.2, "batch_norm2d": 1.2}
MEAN_TARGETS = {"arrays": 1.15, "compiled": 0.95}

# {workload: what its time is made of (BLAS, memory passes, Python), what was tried, and what that gave}
WHY = {
}
