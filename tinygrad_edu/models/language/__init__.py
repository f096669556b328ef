"""Lessons 23-34: networks that read and write sequences of tokens."""
