"""What changed the platform database, one module each, in order."""
