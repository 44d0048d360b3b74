"""Erasing a person: from the tables, from what was made of them, and from what was written about them."""
