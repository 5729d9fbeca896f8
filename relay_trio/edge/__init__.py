"""The client's side of the relay: the server, its connections, the paths and who answers them."""
