"""How a gate asks somebody outside: a program, or an address. What the answers mean is in `external.py`."""
