# SPDX-License-Identifier: Apache-2.0
"""A series on another release: what becomes of each patch, with its tests run there."""
