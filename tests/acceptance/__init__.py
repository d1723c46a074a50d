"""Tests with processes, signals and browsers."""
