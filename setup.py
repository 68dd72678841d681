"""`pip install .` (no ROS needed): the library and the `gld` command. All settings are in setup.cfg."""

from setuptools import setup

setup()
