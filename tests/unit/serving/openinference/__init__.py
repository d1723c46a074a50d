"""Mirrors serving.openinference."""
