"""Is the queue sound? These modules only read."""
