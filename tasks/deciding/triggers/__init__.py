"""The policies that are built in, one module each."""
