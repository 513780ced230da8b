"""The routes of the /v1 API, one module per noun. A handler reads the request, calls one function, and responds."""
