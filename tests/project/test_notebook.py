"""The notebook of the documentation: its cells run in order, and show what the text says."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tour.ipynb"


@pytest.fixture(scope="module")
def said():
    """What every code cell prints; the cells share one namespace, as in a kernel."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names, found = {}, []
    for cell in cells:
        if cell["cell_type"] == "code":
            lines = []
            names["print"] = lambda *words, lines=lines: lines.append(" ".join(map(str, words)))
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
            found.append(lines)
    return found


def test_easy_prompts_go_to_weak_and_hard_ones_to_strong(said):
    """A greeting and a look-up, and a proof."""
    assert ["weak" in line.split()[1] for line in said[0]] == [True, True, False]


def test_a_router_is_better_than_a_random_order(said):
    """And a random order recovers about half."""
    router, order = (float(line.split()[-1]) for line in said[1])
    assert router > 0.6
    assert order == pytest.approx(0.5, abs=0.07)


def test_the_bound_is_certified_below_always_strong(said):
    """With the loss within the bound."""
    (line,) = said[2]
    assert "certified: True" in line
    assert float(line.split()[-1]) <= 0.05
    assert "100%" not in line


def test_the_notebook_is_stored_without_outputs():
    """Outputs are what the tests see, not what somebody once saw."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code"
    )
