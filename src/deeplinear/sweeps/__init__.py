"""Grids of settings, computed in parallel into one store that survives failures."""
