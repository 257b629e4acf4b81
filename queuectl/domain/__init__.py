"""The pure rules: they use no clock, no random numbers, no I/O and no store."""
