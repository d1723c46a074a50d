"""Measurements, each a module that prints a table; `python -m benchmarks` runs those that need no peers."""
