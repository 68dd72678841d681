"""Stand-in for ROS 2's sensor_msgs_py: the module point_cloud2."""
