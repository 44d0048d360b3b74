"""The bundle, its way into the registry and the releases, and its blessing in the running service."""
