"""The Chinese texts: one module a command, each with `WORDS`, from the English text to the Chinese one with the same fields."""
