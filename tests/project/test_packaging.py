"""What the distribution declares matches what is there."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
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
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {_name(line) for line in pins if "==" in line}
    extras = {**PROJECT["project"]["optional-dependencies"], "all": [], "ray": []}
    for requirement in [*PROJECT["project"]["dependencies"], *(item for items in extras.values() for item in items)]:
        assert _name(requirement) in pinned, requirement


def _name(requirement: str) -> str:
    return re.split(r"[=<>\[; ]", requirement, maxsplit=1)[0].replace("_", "-").lower()


def test_all_is_every_extra():
    """`pointsman[all]` names every other extra."""
    extras = PROJECT["project"]["optional-dependencies"]
    listed = extras["all"][0].removeprefix("pointsman[").removesuffix("]").split(",")
    assert sorted(listed) == sorted(set(extras) - {"all", "dev"})
