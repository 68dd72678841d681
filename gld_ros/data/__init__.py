"""Posed images: sequences (folders, rosbag2, procedural rooms), and clips of many data sets for training."""
