"""Protections: what is put in the place of personal values where they enter."""
