"""`aorch serve`: the /v1 API.

app.py        the application: what every request goes through
routes.py     one short handler a route: read, call one core function, answer
bodies.py     the shapes of bodies in and out
auth.py       who calls, and what they may do
guard.py      hosts, origins, rates
connection.py slow and broken clients
idempotency.py  the same key, the same answer
events.py     contracts as they are written
openapi.py    the document; examples.py, what stands in it; pages.py, Swagger UI and ReDoc
problems.py   every refusal as application/problem+json
log.py        one line a request
running.py    start, workers, a clean stop
"""
