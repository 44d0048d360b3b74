"""Recipes learn, the best of them is judged on the newest rows, and what passes is refitted on all of them."""
