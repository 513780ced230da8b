"""Executes queued tasks and sends webhooks."""
