"""Checks of a queue: verify, audit and doctor. These modules only read."""
