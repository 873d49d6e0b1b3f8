# SPDX-License-Identifier: Apache-2.0
"""What a release has of a patch is read off its syntax, never off a word."""

import pytest

from patchseries.apply.derive import origins
from patchseries.errors import PatchseriesError
from patchseries.project import Project
from patchseries.rebase.landed import look, read_parts
from patchseries.series.folder import read_series, series_names

SOURCE = b'''
class Cache:
    """def reset(self): is in a docstring, and self.clear() too"""

    def get(self, key, size=0):
        # self.clear() in a comment
        return self.table.lookup(key, size=size, copy=True)

    async def drop(self):
        self.clear()
'''


class Tree(dict):
    def read(self, path):
        return self.get(path)

    def same_name(self, path):
        return [p for p in self if p.rpartition("/")[2] == path.rpartition("/")[2]]


@pytest.fixture
def seen(tmp_path):
    """Whether a sign is seen in the source, wherever that lies."""
    project = Project(tmp_path)
    (project.patches / "toy-1.0").mkdir(parents=True)

    def run(sign, path="pkg/cache.py"):
        text = f'["toy-1.0".one]\n"it" = ["""{sign}"""]\n'
        (project.patches / "landed.toml").write_text(text)
        found = look(read_parts(project, "toy-1.0")["one"], Tree({path: SOURCE}))
        return bool(found.there)

    return run


@pytest.mark.parametrize(
    "sign, expected",
    [
        ("pkg/cache.py::Cache.get", True),
        ("pkg/cache.py::Cache.reset", False),  # a word of the docstring
        ("no pkg/cache.py::Cache.reset", True),
        ("no pkg/cache.py", False),
        ("pkg/cache.py::Cache.get has self.clear()", False),  # a word of the comment
        ("pkg/cache.py::Cache has self.clear()", True),
        ("pkg/cache.py::Cache.get lacks self.clear()", True),
        ("pkg/cache.py::Cache.reset lacks self.clear()", False),  # cannot be told
        ("pkg/cache.py::Cache.get takes size", True),
        ("pkg/cache.py::Cache.get takes copy", False),
        ("pkg/cache.py has self.table.lookup(key)", False),
        ("pkg/cache.py has self.table.lookup(..., copy=True)", True),
        ("pkg/cache.py has self.table.lookup(_, ..., size=_)", True),
        ("pkg/cache.py has self.table.lookup(..., copy=False)", False),
        ("pkg/cache.py::Cache.reset || pkg/cache.py::Cache.drop", True),
    ],
)
def test_a_sign_is_code_and_not_a_word(seen, sign, expected):
    assert seen(sign) == expected


def test_a_file_that_moved_is_looked_for_by_its_name(seen):
    assert seen("pkg/cache.py::Cache.get", path="pkg/v1/cache.py")
    assert not seen("pkg/cache.py::Cache.reset", path="pkg/v1/cache.py")
    assert seen("pkg/cache.py::Cache.get lacks self.clear()", path="pkg/v1/cache.py")


@pytest.mark.parametrize("sign", ["a word", "pkg/a.py has def (", "pkg/a.py has "])
def test_what_is_no_sign_is_refused(seen, sign):
    with pytest.raises(PatchseriesError, match=r"landed\.toml, one"):
        seen(sign)


def test_parts_of_no_series_are_refused(tmp_path):
    """Without its quotes, a name with dots is another table that nobody reads."""
    project = Project(tmp_path)
    (project.patches / "toy-1.0").mkdir(parents=True)
    text = '[toy-1.0.one]\n"it" = ["pkg/cache.py"]\n'
    (project.patches / "landed.toml").write_text(text)
    with pytest.raises(PatchseriesError, match="'toy-1' is no folder"):
        read_parts(project, "toy-1.0")


class Folder:
    """A tree on the disk, whose files are where a patch knows them."""

    def __init__(self, root):
        self.root = root

    def read(self, path):
        full = self.root / path
        return full.read_bytes() if full.is_file() else None

    def same_name(self, path):
        return []


@pytest.mark.parametrize(
    "series",
    [n for n in series_names(Project.here()) if n not in origins(Project.here())],
)
def test_each_patch_is_whole_in_its_patched_tree_and_not_before(series):
    """A sign that does not tell the two apart says nothing of a release."""
    project = Project.here()
    parts = read_parts(project, series)
    assert set(parts) == {patch.slug for patch in read_series(project, series).patches}
    before = Folder(project.pristine(series))
    after = Folder(project.patched / series)
    if not after.root.is_dir():
        pytest.skip("the trees are not there: `make trees`")
    for slug, declared in parts.items():
        assert not look(declared, after).missing, slug
        assert look(declared, before).missing, slug
