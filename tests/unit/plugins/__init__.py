"""The entry points that need no server."""
