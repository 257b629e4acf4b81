"""The conformance tests of a store, run on every store, and tests of SQLite alone."""
