"""Executes one task: route, commit the REQUEST, call the agent, commit the RESPONSE, answer."""
