"""Lessons 56-57: networks that see pictures and read what is said about them."""
