"""From a table nobody has described to a use case: what its columns are, what is suspected, what to begin with."""
