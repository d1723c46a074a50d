"""Tests of the PostgreSQL adapters on a real server."""
