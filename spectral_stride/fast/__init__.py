"""What only speed needs, for adapters: nothing in the core imports it, and no result needs it."""
