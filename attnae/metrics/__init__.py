"""Metrics: ``columns`` defines every number that a report shows; ``images`` and ``functional`` compute them."""
