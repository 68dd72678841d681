"""gld_ros: views a robot's camera never took, by Geometric Latent Diffusion (GLD)."""

__version__ = "0.1.0"
