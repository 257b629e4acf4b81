"""Runs one command as operating system processes. These modules know no store."""
