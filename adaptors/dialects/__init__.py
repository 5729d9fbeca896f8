"""How the clients of each format are told what is not content: errors, keep-alives, model lists."""
