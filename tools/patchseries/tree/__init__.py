# SPDX-License-Identifier: Apache-2.0
"""A tree that is worked on, and the one way in which its files and refs change."""
