"""Examples that tests run: the operator in other people's frameworks, and training loops."""
