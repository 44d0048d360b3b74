"""Measures of windows that a use case may declare."""
