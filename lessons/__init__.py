"""The lessons, one script each: `python -m lessons` lists and runs them. No file imports a lesson."""
