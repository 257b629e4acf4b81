"""Real processes: escapes, floods of output, killed workers, signals, and what is left afterwards."""
