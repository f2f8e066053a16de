"""What the distribution declares matches what is there."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed():
    """Each folder with an `__init__.py` is in the wheel, and none that is not there."""
    found = {
        ".".join(("pointsman", *path.parent.relative_to(ROOT).parts))
        for folder in ("core", "backends", "serve")
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_tested_version_satisfies_what_we_ask_for():
    """Each direct dependency, extras included, is pinned once in constraints.txt."""
    names = {
        line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    project = PROJECT["project"]
    extras = [
        item
        for extra, items in project["optional-dependencies"].items()
        if extra not in {"all", "ray"}
        for item in items
    ]
    for requirement in [*project["dependencies"], *extras]:
        name = requirement.split(">")[0].split("[")[0].split("<")[0].strip().lower()
        assert name in names, requirement


def test_all_is_every_extra():
    """`pointsman[all]` names every other extra."""
    extras = PROJECT["project"]["optional-dependencies"]
    listed = extras["all"][0].removeprefix("pointsman[").removesuffix("]").split(",")
    assert sorted(listed) == sorted(set(extras) - {"all", "dev"})
