"""What came is held against its expectations, what failed is set apart, the rest repaired."""
