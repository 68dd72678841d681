"""Training of the embedded model from scratch."""
