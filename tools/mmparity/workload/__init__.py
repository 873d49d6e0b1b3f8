# SPDX-License-Identifier: Apache-2.0
"""What is run: models, checkpoints, cases, implementations and their trees."""
