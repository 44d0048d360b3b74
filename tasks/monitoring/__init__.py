"""Windows, drift, realised performance, cause, decision."""
