"""Who may use the relay: clients' keys."""
