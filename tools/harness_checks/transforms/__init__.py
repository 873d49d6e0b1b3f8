# SPDX-License-Identifier: Apache-2.0
"""Changes of weights or pixels under which an encoder's result is known.

``changes`` has a function for each, ``run`` gives them to an implementation. No
other encoder is needed to see that one is wrong, so the oracle is checked, too.
"""
