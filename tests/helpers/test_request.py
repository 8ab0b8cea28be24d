"""What a helper sends: its limits are the agent's, refused here before anything goes out."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from juniperd import wire

from .programs import NAME, SOURCES, Helper, Outcome, refusal
from .scripted import ScriptedAgent, Talk

TOO_LONG = refusal("the arguments and variables are longer than the agent takes; use fewer or shorter arguments")
TWO_FRAMES = 2
"""Frames of a request without arguments: the name, and the end."""


@pytest.fixture(scope="session")
def twin() -> ModuleType:
    """The Python twin as a module, for its constants."""
    spec = importlib.util.spec_from_file_location("juniper_helper", SOURCES / "juniper_helper.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_twins_limits_are_the_agents(twin: ModuleType) -> None:
    names = ("VERSION", "MAX_PAYLOAD", "MAX_REQUEST", "MAX_FRAMES", "MAX_STDIN")
    assert {name: getattr(twin, name) for name in names} == {name: getattr(wire, name) for name in names}
    assert {name.decode() for name in twin.VARIABLES} == wire.VARIABLES


def sent(helper: Helper, env: dict[str, str], *arguments: str | bytes) -> wire.Request:
    """The request as the agent understands it."""
    requests: list[wire.Request] = []

    def play(talk: Talk) -> None:
        requests.append(talk.request())
        talk.answer()

    with ScriptedAgent(Path(env["JUNIPER_SOCKET"]), play):
        assert helper.run(*arguments, env=env) == Outcome(0, b"", b"")
    return requests[0]


def test_every_variable_that_wire_names_is_sent(helper: Helper, env: dict[str, str]) -> None:
    named = {name: f"value of {name}" for name in wire.VARIABLES}
    assert sent(helper, env | named).variables == named


def test_bytes_that_are_no_text_arrive_as_they_are(helper: Helper, env: dict[str, str]) -> None:
    assert sent(helper, env, b"--scope=\xff\xfe").argv == (NAME.encode(), b"--scope=\xff\xfe")


def test_the_longest_argument_is_sent(helper: Helper, env: dict[str, str]) -> None:
    argument = "x" * wire.MAX_PAYLOAD
    assert sent(helper, env, argument).arguments == (argument,)


def test_the_longest_request_is_sent(helper: Helper, env: dict[str, str]) -> None:
    arguments = ("x" * wire.MAX_PAYLOAD, "y" * (wire.MAX_PAYLOAD - len(NAME)))
    assert sent(helper, env, *arguments).arguments == arguments


def test_the_most_arguments_are_sent(helper: Helper, env: dict[str, str]) -> None:
    arguments = ("x",) * (wire.MAX_FRAMES - TWO_FRAMES)
    assert sent(helper, env, *arguments).arguments == arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ("x" * (wire.MAX_PAYLOAD + 1),),
        ("x" * wire.MAX_PAYLOAD, "y" * (wire.MAX_PAYLOAD - len(NAME) + 1)),
        ("x",) * (wire.MAX_FRAMES - TWO_FRAMES + 1),
    ],
    ids=["one-argument", "all-arguments", "count"],
)
def test_one_more_is_refused_before_the_agent_is_called(
    helper: Helper, env: dict[str, str], arguments: tuple[str, ...]
) -> None:
    assert helper.run(*arguments, env=env) == TOO_LONG


@pytest.mark.parametrize("size", [wire.MAX_PAYLOAD, 100_000])
def test_a_variable_over_the_limit_is_refused(helper: Helper, env: dict[str, str], size: int) -> None:
    assert helper.run(env=env | {"KUBERNETES_EXEC_INFO": "x" * size}) == TOO_LONG


def test_the_longest_variable_is_sent_whole(helper: Helper, env: dict[str, str]) -> None:
    value = "x" * (wire.MAX_PAYLOAD - len("KUBERNETES_EXEC_INFO="))
    assert sent(helper, env | {"KUBERNETES_EXEC_INFO": value}).variables == {"KUBERNETES_EXEC_INFO": value}


def test_an_agent_that_hangs_up_early_is_heard(helper: Helper, env: dict[str, str]) -> None:
    """It refuses a request of which it has read nothing; what it said is not lost to a broken pipe."""

    def play(talk: Talk) -> None:
        talk.say(bytes([wire.VERSION]) + wire.encode(wire.Frame("e", b"too busy\n")) + wire.encode_exit(7))

    with ScriptedAgent(Path(env["JUNIPER_SOCKET"]), play):
        outcome = helper.run("x" * wire.MAX_PAYLOAD, "y" * 60_000, env=env)
    assert outcome == Outcome(7, b"", b"too busy\n")
