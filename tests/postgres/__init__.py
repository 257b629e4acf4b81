"""PostgreSQL: what only a server has, and that it can fail."""
