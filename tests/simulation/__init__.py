"""Several workers at once, in virtual time, from a seed; the invariants are checked after every step."""
