"""Metrics, demonstrations, benchmarks: how good and how fast the backend is."""
