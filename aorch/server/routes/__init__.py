"""The routes of the /v1 API."""
