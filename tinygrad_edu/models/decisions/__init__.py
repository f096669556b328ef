"""Lessons 59-60: acting, and learning from what it earns."""
