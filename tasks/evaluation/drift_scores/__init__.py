"""Drift scores: how far the distributions of a column lie apart."""
