"""Metrics, baselines, pictures and the `gld eval` protocol."""
