"""Who can read, write and learn what: owners, modes, secrets, and what SQL is made of."""
