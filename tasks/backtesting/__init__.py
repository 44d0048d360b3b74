"""Walk policies through a use case's own past: models are learnt once, and any policy is then tried in no time."""
