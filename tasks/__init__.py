"""What is done: one package for each stage of the loop, and the stores they share."""
