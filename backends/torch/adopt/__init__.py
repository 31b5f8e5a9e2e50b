"""The way in for a network that exists: its strides found, tied and made learnable."""
