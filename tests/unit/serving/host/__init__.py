"""Mirrors serving/host."""
