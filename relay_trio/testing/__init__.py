"""Fakes on real sockets, and an oracle that counts what is left open. Used by tests and bench alone."""
