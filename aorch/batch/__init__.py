"""Batches: one task per input line, one result per output line."""
