"""Training to a compute budget: what a network costs, and strides that keep it at a cost."""
