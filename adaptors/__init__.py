"""Provider formats and quirks, without I/O: bytes and values in, bytes and values out."""
