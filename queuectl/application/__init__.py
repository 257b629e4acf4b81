"""The use cases of a queue, for every interface: changes, and answers to questions."""
