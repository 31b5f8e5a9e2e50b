"""A grid of trainings."""
