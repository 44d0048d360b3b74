"""Column types: what a declared type is in tables, in requests, and to other tools; one module each."""
