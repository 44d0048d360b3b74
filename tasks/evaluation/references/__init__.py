"""Choices of what windows of production are held against."""
