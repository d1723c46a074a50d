"""Fast tests of the domain."""
