"""The command line: one module a command, and nothing heavy imported before its command runs."""
