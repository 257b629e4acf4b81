"""Security: owners and modes of files, secrets, and SQL without interpolated values."""
