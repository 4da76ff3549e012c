"""Scores with reasons, from a stored and verified version."""
