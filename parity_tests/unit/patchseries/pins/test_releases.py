# SPDX-License-Identifier: Apache-2.0
"""The tree of a release, wherever it comes from."""

from patchseries.pins.releases import release_tree


def test_a_pinned_release_is_fetched_when_it_is_first_asked_for(bare_toy):
    said: list[str] = []
    assert not bare_toy.pristine.exists()
    tree, pin = release_tree(bare_toy.project, "toy", "1.0", said.append)
    assert (tree, pin) == (bare_toy.pristine, "")
    assert said == ["toy-1.0: downloading it", "toy-1.0: fetched and verified"]
    assert bare_toy.fetch() == ["toy-1.0: unchanged"]
