"""Delivers contracts to Trace.

delivery.py sends the steps of contracts in order, each once; its docstring explains the states
delivery_state.py     the progress of the deliveries
lease.py              only one process of a ledger delivers at a time
scheduler.py          rounds of delivery, and delivery in the background of a service
push.py               delivery on demand
delivery_status.py    the numbers for `aorch trace status`, and retry
reconcile.py          compares a session in Trace with the ledger
payload.py            what is sent
trace_client.py       Trace's HTTP API
"""
