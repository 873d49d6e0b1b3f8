# SPDX-License-Identifier: Apache-2.0
"""Pinned source trees, and the patch series on top of them.

`fetch` turns pins into pristine trees, `apply` and `unapply` move a checkout
between its own state and the patched one, `refresh` exports edited commits back
to files, `check` proves that files, commits and tables agree. Never imports torch.
"""
