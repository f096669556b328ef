"""Lessons 35-54: models of what data looks like."""
