"""The web page and the HTTP interface of a queue: one more reader of the store, with no state of its own."""
