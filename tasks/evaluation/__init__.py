"""Splits, metrics, intervals, gates and plots: whether a challenger may replace the champion."""
