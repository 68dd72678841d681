"""A map with two layers, observed and generated, that never mix. No ROS in here."""
