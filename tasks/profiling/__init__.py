"""From a table without a description to a use case: what its columns are, what is suspected, what to begin with."""
