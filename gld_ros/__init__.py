# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_ros: views a robot's camera never took, by Geometric Latent Diffusion (GLD)."""

__version__ = "0.1.0"

# In a checkout the generated gld_ros.msg, .srv and .action lie in the install space: another folder of this package.
__path__ = __import__("pkgutil").extend_path(__path__, __name__)
