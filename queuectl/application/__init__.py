"""What one can do with a queue, whoever asks: the use cases and the answers to questions."""
