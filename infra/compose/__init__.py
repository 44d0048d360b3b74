"""The stack of containers: the files it mounts, and how it is prepared, awaited, backed up and restored."""
