"""The web page of `gld dashboard`: from plain state to a page in the browser. No ROS here."""
