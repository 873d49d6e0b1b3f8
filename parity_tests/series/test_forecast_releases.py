# SPDX-License-Identifier: Apache-2.0
"""`forecast` on released trees says what docs/rebasing.md judges by reading them."""

import pytest

from patchseries.project import Project, cache_folder
from patchseries.rebase.forecast import WORDS, forecast
from patchseries.series.folder import read_series, series_names


def judged():
    """Release -> patch -> word, as the page has it."""
    text = (Project.here().root / "docs/rebasing.md").read_text()
    text = text.split("<!-- forecast:begin -->")[1].split("<!-- forecast:end -->")[0]
    found, releases = {}, []
    for line in filter(None, text.splitlines()):
        first, *cells, _why = (cell.strip() for cell in line.strip("|").split("|"))
        if first == "patch":
            releases = cells
        elif not first.startswith("---"):
            for release, word in zip(releases, cells, strict=True):
                found.setdefault(release, {})[first] = word
    return found


def judged_series(release):
    """The series that the page judges there: that of the oldest release."""
    name = release.rpartition("-")[0]
    names = series_names(Project.here())
    return [s for s in names if s.startswith(f"{name}-0")][-1]


def test_every_patch_is_judged_on_every_release():
    found = judged()
    assert len(found) == 7
    for release, words in found.items():
        series = judged_series(release)
        slugs = [patch.slug for patch in read_series(Project.here(), series).patches]
        assert list(words) == slugs, release
        assert set(words.values()) <= set(WORDS)


@pytest.mark.slow
@pytest.mark.parametrize("release", judged())
def test_the_command_says_what_was_judged(release):
    project, series = Project.here(), judged_series(release)
    places = (project.pristine(release), cache_folder() / "releases" / release)
    tree = next((place for place in places if place.is_dir()), None)
    if tree is None:
        pytest.skip(f"not there: patchseries forecast --text-only {release}")
    if not project.pristine(series).is_dir():
        pytest.skip("the trees are not there: `make trees`")
    found = {fate.slug: fate.word for fate in forecast(project, series, tree)}
    assert found == judged()[release]
