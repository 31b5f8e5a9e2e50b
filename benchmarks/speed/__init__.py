"""Time, memory and rounding of the layer beside its peers: ``python -m benchmarks.speed``."""
