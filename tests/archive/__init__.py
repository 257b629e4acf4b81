"""The archive, restoring on open, recovery, export and import."""
