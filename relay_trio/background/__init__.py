"""What the relay does besides serving requests, each in a scope that is counted and has a deadline, as a request's."""
