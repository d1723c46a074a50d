"""Mirrors serving."""
