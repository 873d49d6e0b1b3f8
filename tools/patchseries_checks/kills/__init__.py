# SPDX-License-Identifier: Apache-2.0
"""Kills patchseries at random moments and looks for what is broken: `make kills`.

Each round runs `apply`, `unapply` or `refresh` and kills it, the process alone or its
whole group with every git in it, or sends Ctrl-C. Then comes the next command: the
same, or the one that takes the series out, in every fourth round killed as well. After
that the tree has to be exactly as that command leaves it: bytes, modes, branches, HEAD
and index, the edits of a user, and nothing of ours besides.

A moment is a step of the command, chosen by the seed: its n-th change of the file
system or start of git, and up to some milliseconds later, so that git is killed too.
Each step of the journal gets its share of the kills, however short it is.
"""
