"""Unfinished work: a folder of its own, one writer at a time, resumed after any interruption."""
