# SPDX-License-Identifier: Apache-2.0
"""What a series is worth: files that agree, upstream's gates, tests both ways."""
