"""Where alerts are told: one channel a file, each with its line in `sender.py`."""
