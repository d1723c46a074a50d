"""Gates that need a real part: a hook, a program, files on disk."""
