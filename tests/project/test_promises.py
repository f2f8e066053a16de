"""Each promise of the documentation is held by a test that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {"Deploy": "deploy", "Policies": "policies", "Money": "money", "Store": "store"}


def promises():
    """Page, promise and test of each row."""
    page = ""
    for line in (ROOT / "docs" / "promises.md").read_text().splitlines():
        if line.startswith("## "):
            page = PAGES[line[3:]]
        elif found := re.fullmatch(r"\| (.+) \| `(\S+)::(\w+)` \|", line):
            yield pytest.param(page, *found.groups(), id=found[3])


@pytest.mark.parametrize(("page", "promise", "file", "test"), list(promises()))
def test_a_promise_stands_in_its_page_and_its_test_exists(page, promise, file, test):
    """The words are the page's own, and the test is one of ours."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", (ROOT / "docs" / f"{page}.md").read_text())  # links are their words
    words = " ".join(text.split())
    assert promise in words
    assert re.search(rf"^((async )?def {test}\(|{test} = )", (ROOT / "tests" / file).read_text(), re.MULTILINE)


def test_every_page_has_promises():
    """None of the four is without."""
    assert {param.values[0] for param in promises()} == set(PAGES.values())
