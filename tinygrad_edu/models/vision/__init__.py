"""Lessons 13-22: networks that look at pictures."""
