"""PostgreSQL: tests of what is different on a server, and of its failures."""
