"""The version of the whole product: library, plugin, `serving` and `drift`."""

VERSION = "0.1.0"
