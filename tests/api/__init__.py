"""The Python API: `open_queue` and what it returns, on files and on a server."""
