"""Performance without labels, as it is expected before they come. What really came true: `drift/performance.py`."""
