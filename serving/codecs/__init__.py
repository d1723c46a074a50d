"""Protocols of requests and answers, one a file: bytes in, bytes out, no HTTP framework."""
