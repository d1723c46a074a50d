"""Commands as people call them, on a real PostgreSQL."""
