"""One table of verbs: each has its path, its description, and the forms that ask for it."""

import re
from pathlib import Path

import queuectl.web
from queuectl.application.queue import NewJob
from queuectl.web.openapi import description
from queuectl.web.site import Rights
from queuectl.web.verbs import FORMS, VERBS
from tests.support.builders import a_spec
from tests.web.client import BEARER, served

EVERY = [
    *("/api/jobs", "/do/add"),
    *(re.sub(r"\{\w+\}", "x", verb.path) for verb in VERBS),
    *(f"/do/{name}" for name in FORMS),
]
TEMPLATES = Path(queuectl.web.__file__).parent / "templates"


def test_every_verb_is_served_and_described(client):
    posts = {path for path, found in description()["paths"].items() if "post" in found}
    assert posts == {"/api/jobs", *(verb.path for verb in VERBS)}
    for verb in VERBS:
        answer = client.get(re.sub(r"\{\w+\}", "x", verb.path))
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_every_form_of_the_pages_asks_for_a_verb():
    text = "".join(path.read_text() for path in TEMPLATES.glob("*.html"))
    named = set(re.findall(r'"/do/([\w-]+)"', text))
    assert named - {"add"} <= FORMS.keys()
    computed = {"cancel", "retry", "purge", "unblock", "pause", "resume"}  # the button's verb is in the data
    assert FORMS.keys() - named <= computed


def test_every_verb_is_refused_to_those_who_may_only_read(path):
    with served(path, Rights(read_only=True)) as (client, queue):
        assert {client.post(each).status for each in EVERY} == {403}
        assert queue.store.log.head().position == 0


def test_no_page_offers_a_verb_to_those_who_may_only_read(path):
    with served(path, Rights(read_only=True)) as (client, queue):
        queue.enqueue([NewJob(a_spec("true"), "a")])
        queue.pause("default")
        for page in ("/", "/jobs", "/jobs/a", "/failures", "/schedules", "/workers"):
            assert not re.search(r"/do/|/add", client.get(page).text)


def test_adding_and_editing_are_offered_only_when_allowed(path):
    for rights in (Rights(), Rights(allow_enqueue=True)):
        with served(path, rights) as (client, queue):
            queue.enqueue([NewJob(a_spec("true"), "a")])
            text = "".join(client.get(page).text for page in ("/", "/jobs", "/jobs/a"))
            offered = {name for name in ("/add", "/do/edit", "/do/amend-copy", "/do/prioritize") if f'"{name}"' in text}
            assert "/do/cancel" in text
            assert len(offered) == (4 if rights.allow_enqueue else 0)


def test_every_verb_needs_the_token_and_comes_from_the_page(client, queue):
    assert {client.post(each, headers={}).status for each in EVERY} == {401}
    evil = {**BEARER, "origin": "http://evil.example"}
    assert {client.post(each, headers=evil).status for each in EVERY} == {403}
    assert queue.store.log.head().position == 0


def test_no_two_verbs_share_a_form_or_a_path():
    assert len({verb.path for verb in VERBS}) == len(VERBS)
    assert len(FORMS) == sum(len(verb.forms) for verb in VERBS)
