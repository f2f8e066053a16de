"""The OpenAPI document, and the server held to it."""

import httpx
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.config.load import make_config
from pointsman.serve.server.openapi.operations import OPERATIONS

from support.upstream import LocalServer

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def server():
    """Before the built-in stand-ins: no answer is anybody else's."""
    with LocalServer(create_app(make_config(routers=["mf", "random"]))) as front:
        yield front


@pytest.fixture(scope="module")
def document(server):
    answer = httpx.get(f"{server.url}/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_server_answers_as_it_is_documented(server, document, method, path, mode):
    """Whatever fits the document is answered with a status, type and shape in it; what does not is no 5xx either."""
    operation = schemathesis.openapi.from_dict(document)[path][method]

    @settings(max_examples=6, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None)
    @given(operation.as_strategy(generation_mode=mode), st.sampled_from([None, "auto", "router-mf-0.5", "nope"]))
    def check(case, model):
        if model is not None and isinstance(case.body, dict):
            case.body["model"] = model
        case.validate_response(case.call(base_url=server.url, timeout=60), checks=CHECKS)

    if operation.body or (operation.path_parameters and mode is GenerationMode.POSITIVE):
        check()
    else:
        case = operation.Case(path_parameters={"name": "auto"} if operation.path_parameters else None)
        case.validate_response(case.call(base_url=server.url, timeout=60), checks=CHECKS)


def test_every_path_is_described(document):
    """A path that is served has its types in the table, and the table has no other."""
    served = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert served == {*OPERATIONS}


def test_the_document_is_valid_and_open(document):
    """It is OpenAPI 3.1 with valid schemas; requests take fields that are not named."""
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert schemas["Chat"]["additionalProperties"] is True
    assert {"model", "messages"} == set(schemas["Chat"]["required"])
    assert "security" not in document["paths"]["/v1/chat/completions"]["post"]


def test_keys_are_documented_where_they_are_asked_for(tmp_path):
    """Then every path but those for probes takes a bearer key; the document itself is public."""
    entry, _ = new_key("someone")
    write_keys(tmp_path / "keys.json", {entry.id: entry})
    config = make_config({"server": {"keys_file": str(tmp_path / "keys.json")}}, routers=["random"])
    with LocalServer(create_app(config)) as front:
        paths = httpx.get(f"{front.url}/openapi.json").json()["paths"]
    assert paths["/v1/chat/completions"]["post"]["security"] == [{"key": []}]
    assert "security" not in paths["/health"]["get"]
