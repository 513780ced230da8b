"""Delivers contracts to Trace."""
