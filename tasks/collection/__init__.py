"""Many sources, one joined raw table up to an instant."""
