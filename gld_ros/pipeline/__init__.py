# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sources and target cameras in, views out."""

from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import Progress, Scale, SourceView, View

__all__ = ["GLDPipeline", "Progress", "Scale", "SourceView", "View"]
