"""How one command runs as operating system processes. Knows no store."""
