"""Several hosts and one PostgreSQL server: hosts that are cut off, silent, or return late."""
