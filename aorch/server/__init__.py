"""`aorch serve`: the /v1 API."""
