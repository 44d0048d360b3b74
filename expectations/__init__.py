"""What must hold: the schema of a use case, how one is loaded, and the errors everything here raises."""
