"""Time, memory and rounding of the layer beside its peers: ``python -m benchmarks.speed``."""

import os

# PyTorch's profiler, which counts memory, reads this when PyTorch is loaded, and then keeps quiet.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
