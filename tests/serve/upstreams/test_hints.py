"""Parameters that a service refuses and an answer does not hang on."""

from typing import Any

import pytest
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
    mended = RefusedHints(HINTS).mended(_document(temperature=value), status, body)
    assert (mended is not None) == (status in (400, 422) and value is not None and names_it)


def test_what_was_refused_is_left_out_once_a_request_passed_without():
    """A value that was refused goes at once the next time; other values, which may pass, do not."""
    hints = RefusedHints(HINTS)
    asked = _document(temperature=0.5, user="me")
    assert hints.applied(asked) == asked
    hints.remember(asked, _document())
    assert hints.applied(asked) == _document()
    assert hints.applied(_document(temperature=0.7, user="you")) == _document(temperature=0.7)


def test_a_part_of_a_parameter_leaves_the_rest():
    """The effort goes, the form of the answer stays; a parameter of which nothing is left goes."""
    hints = RefusedHints(HINTS)
    refusal = b"effort: extra inputs are not permitted"
    held = _document(output_config={"effort": "high", "format": {}})
    assert hints.mended(held, 400, refusal) == _document(output_config={"format": {}})
    assert hints.mended(_document(output_config={"effort": "high"}), 400, refusal) == _document()


@pytest.mark.parametrize("known", [0, 1])
def test_a_limit_is_told_by_the_name_that_the_service_knows(known):
    """Old services know max_tokens, new ones max_completion_tokens; a refusal names the newer one in both cases."""
    hints, names = RefusedHints(HINTS), ("max_tokens", "max_completion_tokens")
    asked, passed = _document(**{names[1 - known]: 9}), _document(**{names[known]: 9})
    assert hints.mended(asked, 400, b"Unsupported parameter; use 'max_completion_tokens'") == passed
    hints.remember(asked, passed)
    assert hints.applied(asked) == hints.applied(passed) == passed


def test_a_client_cannot_fill_the_memory():
    """Values are the client's to choose: no more than a few are remembered."""
    hints = RefusedHints(HINTS)
    for i in range(1000):
        hints.remember(_document(temperature=i), _document())
    assert sum(hints.applied(_document(temperature=i)) == _document() for i in range(1000)) == 64
