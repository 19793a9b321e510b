"""Scores of settings on data with truth, in turns with their time."""
