"""Being told without a monitoring stack: what is wrong, once for each cause, by webhook and mail, never in a request's way."""
