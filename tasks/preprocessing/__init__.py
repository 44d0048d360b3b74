"""The feature program: fitted on training rows, stored as JSON, run by a batch and by a scalar executor."""
