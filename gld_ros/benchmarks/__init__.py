"""What `gld bench` measures: latency, quality of settings, scaling, the ROS node, and the official code beside ours."""
