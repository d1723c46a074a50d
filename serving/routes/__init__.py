"""Routes, one subject a file: they translate between HTTP and the parts, and decide nothing."""
