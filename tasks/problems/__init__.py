"""The kinds of problems that are built in: each owns what depends on it."""
