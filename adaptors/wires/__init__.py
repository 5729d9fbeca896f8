"""One module for each provider format, both ways: bytes <-> meaning."""
