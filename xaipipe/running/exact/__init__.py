"""Exact runs: tiles that together give the map of the whole image."""
