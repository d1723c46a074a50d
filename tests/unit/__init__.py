"""Fast tests without IO."""
