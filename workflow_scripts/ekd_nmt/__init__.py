"""The library behind the commands: a package a concern; imports go one way, from ``report`` down to ``common``."""
