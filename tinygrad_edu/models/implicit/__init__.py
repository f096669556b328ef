"""Lessons 62-63: networks that are the picture, the surface or the scene: a place goes in, what is there comes out."""
