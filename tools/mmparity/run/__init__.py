# SPDX-License-Identifier: Apache-2.0
"""Many captures: which, in what order, by which workers, and what is kept of them."""
