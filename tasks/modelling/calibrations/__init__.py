"""Calibrations: one module each."""
