"""Parameters that a service refuses and an answer does not hang on."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pointsman.serve.upstreams.translated.hints import RefusedHints

HINTS = ("thinking", "output_config.effort", "user", "temperature")
REFUSAL = b'{"error": {"message": "Unsupported parameter: temperature"}}'


def _document(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [], **fields}


@given(st.sampled_from([400, 401, 404, 422, 429, 500, 200]), st.sampled_from([0.5, None]), st.booleans())
def test_only_a_refusal_that_names_a_hint_is_one_of_it(status, value, names_it):
    """A 400 or 422 that names a parameter of the request; any other answer is the client's."""
    body = REFUSAL if names_it else b'{"error": {"message": "no"}}'
    told = RefusedHints(HINTS).complained_of(_document(temperature=value), status, body)
    assert bool(told) == (status in (400, 422) and value is not None and names_it)


def test_what_was_refused_is_left_out_once_a_request_passed_without():
    """A value that was refused goes at once the next time; other values, which may pass, do not."""
    hints = RefusedHints(HINTS)
    asked = _document(temperature=0.5, user="me")
    assert hints.without_refused(asked) == asked
    hints.remember(asked, ("temperature", "user"))
    assert hints.without_refused(asked) == _document()
    assert hints.without_refused(_document(temperature=0.7, user="you")) == _document(temperature=0.7)


def test_a_part_of_a_parameter_leaves_the_rest():
    """The effort goes, the form of the answer stays; a parameter of which nothing is left goes."""
    hints = RefusedHints(HINTS)
    held = _document(output_config={"effort": "high", "format": {}})
    assert hints.complained_of(held, 400, b"effort: extra inputs are not permitted") == ("output_config.effort",)
    assert hints.without(held, ("output_config.effort",)) == _document(output_config={"format": {}})
    assert hints.without(_document(output_config={"effort": "high"}), ("output_config.effort",)) == _document()


def test_a_client_cannot_fill_the_memory():
    """Values are the client's to choose: no more than a few are remembered."""
    hints = RefusedHints(HINTS)
    for i in range(1000):
        hints.remember(_document(temperature=i), ("temperature",))
    assert sum(hints.without_refused(_document(temperature=i)) == _document() for i in range(1000)) == 64
