"""Adapters on a real PostgreSQL."""
