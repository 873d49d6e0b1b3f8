# SPDX-License-Identifier: Apache-2.0
"""Whole models: vLLM's engine offline, and servers online."""
