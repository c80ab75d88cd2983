"""Metrics: ``columns`` defines every metric in reports; the other modules compute them."""
