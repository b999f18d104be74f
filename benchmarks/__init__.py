"""Figures that the documents quote, each printed by a command."""
