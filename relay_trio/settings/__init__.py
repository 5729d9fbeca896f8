"""What the operator says: from the environment and `relay.toml` to one frozen value."""
