"""What needs no cluster of the work on Ray: versions, and dollars shared by actors."""

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.backends.ray.cluster import import_ray
from pointsman.backends.ray.purse import Purse
from pointsman.core.errors import ConfigError, MissingExtraError


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    """A missing Ray is named with its extra."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "pointsman\[ray\]"'):
        import_ray()


@pytest.mark.parametrize("version", ["1.13.0", "2.9.3", "3.0.0"])
def test_another_ray_is_refused(monkeypatch, version):
    """A version whose interface is another is named, with the one that is wanted."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(__version__=version))
    with pytest.raises(ConfigError, match=rf"Ray {version} is installed, wanted 2\.40 or a later 2\.x"):
        import_ray()


@given(
    ceiling=st.floats(0.0, 100.0),
    draws=st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 1.0)), max_size=20),
)
def test_a_purse_never_gives_more_than_it_holds(ceiling, draws):
    """However much is drawn and given back, what was spent and what is left make up the ceiling."""
    purse, spent = Purse(ceiling), 0.0
    for wanted, part in draws:
        drawn = purse.draw(wanted)
        assert 0.0 <= drawn <= wanted
        spent += drawn * part
        purse.give_back(drawn * (1.0 - part))
    assert spent <= ceiling + 1e-9
    assert purse.left_usd + spent == pytest.approx(ceiling)
