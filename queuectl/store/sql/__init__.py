"""The SQL that both engines speak."""
