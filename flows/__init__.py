"""What runs and when: the flows, their deployments, and the command line."""
