"""A server as a client sees it: the connection, and its ledger, agents and tasks by HTTP."""
