"""Signals, the stop of a process, and its watchdog."""
