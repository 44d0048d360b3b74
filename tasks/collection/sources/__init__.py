"""The sources that are built in: a module each."""
