"""The manager's store: the one place that knows what is wanted and what is."""
