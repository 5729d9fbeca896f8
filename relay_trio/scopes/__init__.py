"""Request scopes, clocks and the watch over them: why nothing outlives its request."""
