"""The provider's side of the relay: connections, their pool, and what is read from them."""
