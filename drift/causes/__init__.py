"""The root cause of a drifted window: which columns, which rows, since when, what it did to predictions."""
