"""How jobs, events and tables are shown, for every face."""
