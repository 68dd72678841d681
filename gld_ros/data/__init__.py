"""Scenes and sequences: procedural rooms, folders with transforms.json, rosbag2."""
