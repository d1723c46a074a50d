"""One suite a port, run for the twin and for the real adapter."""
