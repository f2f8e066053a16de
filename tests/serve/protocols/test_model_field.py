"""The model field of a request."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.model_field import ModelField, parse_model_field

ROUTERS = ["mf", "my-router", "my-router-v2", "./checkpoints/a-b"]
MODELS = ["gpt-4o", "ollama/llama3.1"]


def parse(field):
    return parse_model_field(field, routers=ROUTERS, models=MODELS)


@pytest.mark.parametrize(
    ("field", "meaning"),
    [
        ("router-mf-0.11593", ModelField(router="mf", threshold=0.11593)),
        ("router-mf-1", ModelField(router="mf", threshold=1.0)),
        ("router-mf-0", ModelField(router="mf", threshold=0.0)),
        ("router-mf-.5", ModelField(router="mf", threshold=0.5)),
        ("router-mf-1e-05", ModelField(router="mf", threshold=1e-05)),
        ("router-mf-30pct", ModelField(router="mf", strong_share=0.3)),
        ("router-mf-12.5pct", ModelField(router="mf", strong_share=0.125)),
        ("router-mf-100pct", ModelField(router="mf", strong_share=1.0)),
        ("router-mf", ModelField(router="mf")),
        ("router-my-router-0.5", ModelField(router="my-router", threshold=0.5)),
        ("router-my-router-v2", ModelField(router="my-router-v2")),
        ("router-my-router-v2-0.5", ModelField(router="my-router-v2", threshold=0.5)),
        ("router-./checkpoints/a-b-20pct", ModelField(router="./checkpoints/a-b", strong_share=0.2)),
        ("auto", ModelField(router="mf")),
        ("gpt-4o", ModelField(model="gpt-4o")),
        ("ollama/llama3.1", ModelField(model="ollama/llama3.1")),
    ],
)
def test_every_form_is_understood(field, meaning):
    """Thresholds (RouteLLM's form), percentages, defaults, auto and plain models; names may contain hyphens."""
    assert parse(field) == meaning


@given(st.sampled_from(ROUTERS), st.floats(0.0, 1.0))
def test_a_threshold_survives_its_way_through_the_field(router, threshold):
    """A threshold written with Python's repr is read back exactly."""
    assert parse(f"router-{router}-{threshold!r}") == ModelField(router=router, threshold=threshold)


@pytest.mark.parametrize(
    "field",
    [
        "router-mf-",
        "router-mf-1.5",
        "router-mf--0.5",
        "router-mf-nan",
        "router-mf-inf",
        "router-mf-0x1",
        "router-mf-1_0",
        "router-mf-101pct",
        "router-mf-pct",
        "router-mf- 0.5",
        "router-mf-0.5 ",
        "router-mf-٠.٥",
        "router-mf-high",
    ],
)
def test_a_malformed_threshold_says_what_was_wanted(field):
    """A setting that is no threshold or percentage is a 400 with an example of each."""
    with pytest.raises(RequestError, match=re.escape("router-mf-0.5")) as caught:
        parse(field)
    assert (caught.value.status, caught.value.param) == (400, "model")


@pytest.mark.parametrize(("field", "meant"), [("router-mf-30", "router-mf-30pct?"), ("router-mf-130", None)])
def test_a_percentage_without_its_sign_is_hinted_at(field, meant):
    """A number above 1 and up to 100 is likely a share."""
    with pytest.raises(RequestError) as refused:
        parse_model_field(field, routers=["mf"], models=[])
    said = str(refused.value)
    assert said.endswith(f"did you mean {meant}") if meant is not None else "did you mean" not in said


@pytest.mark.parametrize("field", ["gpt-4", "router-nope-0.5", "router-", "router", "GPT-4o", "Auto", "mf"])
def test_an_unknown_name_lists_what_there_is(field):
    """An unknown router or model is a 404 that lists the routers and models there are."""
    with pytest.raises(RequestError, match=r"routers: mf, my-router.*models: gpt-4o, ollama/llama3\.1") as caught:
        parse(field)
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text):
    """No text makes the parser fail in any other way than a refusal."""
    try:
        field = parse(f"router-{text}")
    except RequestError:
        return
    assert field.router in ROUTERS
