"""Alert rules: what may be wrong with what was served."""
