"""Figures: one script each, run by hand; what they wrote is committed beside them."""
