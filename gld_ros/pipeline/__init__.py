"""Sources and target cameras in, views out."""
