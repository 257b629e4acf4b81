"""The log's second copy outside the database, as NDJSON segments."""
