"""What to do after a window: policies, and the bounds that all of them keep to. Pure functions of a history."""
