"""The ROS 2 side: conversions, TF, pairing, the worker, nodes. No mathematics of its own."""
