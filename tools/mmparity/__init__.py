# SPDX-License-Identifier: Apache-2.0
"""Compares vision encoders, layer by layer, across implementations.

The way of the data: inputs and a checkpoint -> one worker process per
implementation -> traces on disk -> compare -> ``comparison.json`` -> reports.

Words: *old* and *new* are the two sides of a comparison, *oracle* is the same
encoder in float64; a *hook point* is a place that both sides have, under one
canonical name; a *trace* is the tensors of one forward at all hook points.
"""
