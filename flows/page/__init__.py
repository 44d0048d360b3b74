"""One page of our own: where each model stands, what is wrong, why the loop did what it did, and what to do."""
