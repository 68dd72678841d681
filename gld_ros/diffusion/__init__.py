"""The flow-matching path, its time grid and samplers."""
