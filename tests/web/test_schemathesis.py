"""Schemathesis finds no answer that /api/openapi.json does not describe, and no status or header that HTTP forbids."""

import sys
from signal import SIGTERM

import pytest

from tests.support.command_line import eventually

pytest.importorskip("schemathesis", reason="there is no schemathesis here: pip install 'queuectl[test-web]'")

TOKEN = "a-token-of-the-tests"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,ignored_auth"
)
"""All but `positive_data_acceptance`: times and filters have a form that the description says in words."""


def test_the_interface_is_as_it_is_described(queuectl, tmp_path):
    queuectl.add("--id", "a", "--tag", "team=ci", "true")
    queuectl.add("--id", "dead", "--max-retries", "0", "exit 3")
    queuectl.ok("schedule", "add", "nightly", "0 3 * * *", "true")
    queuectl.drain()
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)
    server = queuectl.start("serve", "--listen", "127.0.0.1:0", "--allow-enqueue", "--token-file", str(tokens))
    url = eventually(lambda: server.stdout.read_text().strip(), "the URL", 30).rstrip("/")
    options = ("--max-examples", "5", "--phases", "coverage,fuzzing", "--seed", "1", "--checks", CHECKS, "--no-color")
    streams = ("--exclude-path-regex", "events|logs")  # answers without an end
    program = (sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/openapi.json")
    done = queuectl.start_program(*program, "-H", f"Authorization: Bearer {TOKEN}", *options, *streams).ended(120)
    assert done.code == 0, done.out
    assert "Tested: 2" in done.out  # more than twenty operations
    server.signal(SIGTERM)
    assert "Traceback" not in server.ended().err
