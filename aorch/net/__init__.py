"""HTTP: the client, addresses, and whether a service listens."""
