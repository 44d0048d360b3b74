"""The feature program: fitted on training rows, stored as JSON, run over frames and over rows."""
