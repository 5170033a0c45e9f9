"""Measurements: every module prints a table of our work beside its peers, or of our choices."""
