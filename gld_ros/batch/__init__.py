# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld batch`: views of whole archives of sequences, on Ray.

`policies` say what is asked for, `writers` how it is kept; `maker.py` makes one sequence, `workers.py` spreads that
over a machine or a cluster, `run.py` goes on where an earlier start stopped.
"""
