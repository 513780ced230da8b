"""The shapes of HTTP bodies and queries."""
