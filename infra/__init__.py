"""Where it runs: settings, the local stack, the service."""
