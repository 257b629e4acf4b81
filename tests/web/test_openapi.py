"""/api/openapi.json describes the interface that there is: every route, every answer's shape, every refusal."""

import msgspec
import pytest

from queuectl.application.queue import NewJob
from tests.support.builders import a_spec
from tests.web.client import BEARER

SAMPLES = {"job_id": "a", "queue": "ci", "worker": "none", "signature": "0123abcd", "schedule": "none"}
ENDLESS = "/api/events"


@pytest.fixture
def described(client, queue):
    queue.enqueue([NewJob(a_spec("true", tags={"t": "v"}), "a")])
    return client.get("/api/openapi.json").json()


def operations(described):
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def routes(client):
    inner = client.app._app
    for route in inner.routes:
        if route.path.startswith(("/api/", "/metrics")) and route.path != "/api/openapi.json":
            yield from ((route.path, method.lower()) for method in route.methods - {"HEAD"})


def resolved(described, schema):
    while "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def faults(described, schema, value, place="$"):
    """The faults of a value, by the parts of JSON Schema that the description uses."""
    schema = resolved(described, schema)
    for name in ("oneOf", "anyOf"):
        if name in schema and all(list(faults(described, each, value, place)) for each in schema[name]):
            yield f"{place}: none of {name}"
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if "type" in schema and schema["type"] != "null" and not isinstance(value, kinds[schema["type"]]):
        yield f"{place}: {value!r} is no {schema['type']}"
        return
    if isinstance(value, dict):
        yield from (f"{place}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from faults(described, inner, value[name], f"{place}.{name}")
    for number, each in enumerate(value if isinstance(value, list) else ()):
        yield from faults(described, schema.get("items", {}), each, f"{place}[{number}]")


def test_a_wrong_method_is_answered_with_those_allowed(client):
    answer = client.call("PUT", "/api/jobs/a/cancel", [*BEARER.items()])
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    answer = client.call("DELETE", "/api/jobs", [*BEARER.items()])
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert answer.json()["error"] == "DELETE /api/jobs is not served here, but GET, HEAD, POST"


def test_every_route_is_described_and_no_other(client, described):
    assert {(path, method) for path, method, _ in operations(described)} == set(routes(client))


def test_every_answer_has_the_described_shape(client, described):
    tried = 0
    for path, method, operation in operations(described):
        if path == ENDLESS:
            continue
        place = path.format(**SAMPLES)
        answer = (
            client.get(place)
            if method == "get"
            else client.post(place, {"command": "true"} if path == "/api/jobs" else {})
        )
        response = operation["responses"].get(str(answer.status))
        assert response is not None, (method, path, answer)
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in response["content"], (method, path)
        if kind == "application/json":
            assert list(faults(described, response["content"][kind]["schema"], answer.json())) == [], (method, path)
            tried += 1
    assert tried > 15


def test_every_parameter_is_accepted_and_no_other(client, described):
    for path, method, operation in operations(described):
        if method == "get" and path != ENDLESS:
            names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
            refused = client.get(f"{path.format(**SAMPLES)}?unknown=1")
            assert path == "/metrics" or (refused.status, refused.json()["exit_code"]) == (400, 2), path
            for name in names:
                assert "there is no parameter" not in client.get(f"{path.format(**SAMPLES)}?{name}=1").text, (
                    path,
                    name,
                )


def test_random_bodies_are_answered_with_described_errors(client, described):
    for body in (None, [], 1, "x", {"reason": 5}, {"limit": "x"}, {"command": []}, [[]], [None], {"a": {"b": [1]}}):
        for path, method, operation in operations(described):
            if method == "post":
                answer = client.post(path.format(**SAMPLES), body)
                assert str(answer.status) in operation["responses"], (path, body, answer)


def test_the_description_is_whole(described):
    text = msgspec.json.encode(described).decode()
    names = set(described["components"]["schemas"])
    assert {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]} <= names
