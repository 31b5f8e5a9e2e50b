"""Where samples come from, and how they become tensors: one file a kind of source."""
