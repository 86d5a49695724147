"""Grids: what is asked. Schema, files, expansion into trials, conflicts and names, and the shipped TOML files."""
