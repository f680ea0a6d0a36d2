"""Parallel text: where it comes from, how it is read, cleaned and cut into shards."""
