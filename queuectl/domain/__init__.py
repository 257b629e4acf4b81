"""The pure rules: no clock, no chance, no I/O, no store."""
