"""Loading parts of a package without the rest of it."""

import sys

import pytest

from pointsman.serve.commands.lean_packages import load_parts


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package of the given modules; `loaded` notes those that run."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(**modules):
        folder = tmp_path / "planted_package"
        folder.mkdir()
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(source)

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "planted_package"]:
        del sys.modules[name]


def test_a_part_loads_alone_and_the_rest_when_it_is_asked_for(package):
    """A name of the package, other than a part's, loads it as an import would have."""
    package(
        __init__="from planted_package.part import Part\nfrom planted_package.heavy import weight",
        part="from planted_package import values\nclass Part: number = values.NUMBER",
        user="from planted_package import Part",
        values="NUMBER = 7",
        heavy="weight = 1000",
    )
    load_parts("planted_package", ("part", "user"))
    import planted_package

    assert planted_package.part.Part.number == 7
    assert "planted_package.heavy" not in sys.modules
    assert planted_package.weight == 1000
    assert planted_package.Part is planted_package.part.Part is planted_package.user.Part
    with pytest.raises(AttributeError, match="nothing"):
        _ = planted_package.nothing


def test_a_package_whose_part_needs_the_whole_loads_as_ever(package):
    """Nothing of the attempt stays, whatever a later version of a package imports from itself."""
    package(
        __init__="limit = 3\nfrom planted_package.part import twice",
        part="from planted_package import limit\ntwice = 2 * limit",
    )
    load_parts("planted_package", ("part",))
    assert "planted_package" not in sys.modules
    from planted_package import twice

    assert twice == 6


def test_a_package_that_is_loaded_or_absent_stays_as_it_is(package):
    """There is nothing to spare then."""
    package(__init__="number = 1", part="")
    import planted_package

    load_parts("planted_package", ("part",))
    assert sys.modules["planted_package"] is planted_package
    load_parts("no_such_package_here", ("part",))
    assert "no_such_package_here" not in sys.modules
