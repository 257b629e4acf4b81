"""The speed of queuectl, compared with other tools: run `python -m benchmarks` (see README.md)."""
