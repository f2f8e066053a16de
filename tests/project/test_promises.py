"""Each promise of the documentation is held by a test that exists."""

import ast
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
            page = PAGES.get(line[3:], "")
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


def test_random_inputs_are_drawn():
    """Each row names a property, or a state machine."""
    text = (ROOT / "docs" / "promises.md").read_text().split("## What random inputs hold")[1]
    rows = re.findall(r"^\| .+ \| `(\S+)::(\w+)` \| [\d x]+ \|", text, re.MULTILINE)
    assert len(rows) > 15
    for file, test in rows:
        body = ast.parse((ROOT / "tests" / file).read_text()).body
        drawn = {ast.unparse(each.targets[0]) for each in body if isinstance(each, ast.Assign)}
        functions = [each for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
        drawn |= {each.name for each in functions if "given(" in " ".join(map(ast.unparse, each.decorator_list))}
        assert test in drawn, f"{file}::{test}"
