"""Acceptance tests: the installed `queuectl` as a subprocess, and what its users see."""
