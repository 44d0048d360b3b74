"""The service: predictions over HTTP from released bundles, journaled before they are answered."""
