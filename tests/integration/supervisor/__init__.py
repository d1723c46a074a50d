"""The supervisor, with stand-ins for its parts and with the real PostgreSQL."""
