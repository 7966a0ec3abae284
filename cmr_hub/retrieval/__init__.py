"""Encode and search with a trained checkpoint: `Retriever` and `Gallery`."""
