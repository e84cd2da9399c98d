"""Weights that travel with the package, and the command that made them (see README.md)."""
