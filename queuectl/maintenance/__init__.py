"""Changes to a whole log: export, import, backup, migrate, recover."""
