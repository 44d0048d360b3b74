"""The metrics that are built in."""
