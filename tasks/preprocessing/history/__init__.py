"""Numbers that rows get from earlier rows: from the lake for training, from a compact state for requests."""
