"""How fast queuectl is, beside what people use today: run `python -m benchmarks` (README.md says how)."""
