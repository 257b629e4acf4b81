"""Who runs jobs: the worker and its supervisor."""
