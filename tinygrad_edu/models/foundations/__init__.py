"""Lessons 05-12: the first networks."""
