"""Fixtures, builders, oracles and other code that several folders of tests use."""
