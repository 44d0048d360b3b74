"""Bundles: models with all that their answers need, and the rows they answered."""
