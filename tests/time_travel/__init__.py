"""The queue at earlier moments: `--as-of`, `diff`, `explain` and `events -f`."""
