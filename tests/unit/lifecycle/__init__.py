"""Fast tests of the use cases, on twins."""
