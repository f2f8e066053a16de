"""The documentation as a site: `make docs` builds it strictly, and every page is in its navigation."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def pages_of(navigation):
    """The pages that a navigation names, in order."""
    return [page for section in navigation for pages in section.values() for page in pages]


def test_every_page_is_in_the_navigation_once():
    """A page that is added is found from the menu."""
    named = pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(named) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


def build(folder):
    """Runs the build in a folder with a configuration; its exit status and what it said."""
    run = [sys.executable, "-m", "zensical", "build", "--strict", "-f", "mkdocs.yml"]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def zensical():
    pytest.importorskip("zensical", reason="the site needs zensical, of the extra dev")


def test_the_site_builds_without_a_warning_and_has_a_search(tmp_path):
    """No link or anchor of any page leads nowhere, and the search index holds the pages."""
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    status, said = build(tmp_path)
    assert status == 0, said
    site = tmp_path / "build" / "site"
    assert "What will it save me" in (site / "savings.html").read_text()
    assert "glossary.html" in (site / "search.json").read_text()


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path):
    """The check can fail: an anchor that is not there."""
    (tmp_path / "mkdocs.yml").write_text("site_name: Site\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Page\n\n[nowhere](index.md#nowhere)\n")
    status, said = build(tmp_path)
    assert status != 0
    assert "anchor does not exist" in said
