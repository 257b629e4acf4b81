"""Runs jobs: the worker and its supervisor."""
