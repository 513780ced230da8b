"""What other programs can observe: metrics for Prometheus, and traces for OpenTelemetry."""
