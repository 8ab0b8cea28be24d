"""The issuer's verbs as plain functions: arguments in, exit status and text out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from juniperd.errors import ConfigError, JuniperError, StateError, one_line
from juniperd.issuer import admin, audit, backup, discovery, heads, policy_file, state
from juniperd.issuer import config as configuration
from juniperd.issuer.audit import Head
from juniperd.issuer.config import IssuerConfig
from juniperd.issuer.desk import Desk, Document
from juniperd.issuer.keys import Keys
from juniperd.issuer.policy import Policy, Scope
from juniperd.issuer.trust import aws, eks, google, kubernetes

_LAST = 1000
_PAUSE = 0.5
_LONGEST_LINE = 2000


class Outcome(NamedTuple):
    """What a verb ends in; ``text`` goes to stdout where ``exit`` is 0, else to stderr."""

    exit: int
    text: str


def _attempt(work: Callable[[], str]) -> Outcome:
    try:
        return Outcome(0, work())
    except JuniperError as error:
        return Outcome(error.exit_status, str(error))


# --- the trail --------------------------------------------------------------------------------------------------------


def audit_tail(
    config_path: Path, *, count: int = _LAST, as_json: bool = False, follow: bool = False, out: IO[str] | None = None
) -> int:
    """Print the last events; following ends on SIGINT and when nobody reads any more."""
    out = sys.stdout if out is None else out
    try:
        connection = state.connect(configuration.load(config_path).state, readonly=True)
        with contextlib.closing(connection), contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            _tail(connection, count=count, as_json=as_json, follow=follow, out=out)
    except sqlite3.Error as error:
        print(f"the trail cannot be read ({error}); run: juniper audit verify", file=sys.stderr)
        return StateError.exit_status
    except JuniperError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


def _tail(connection: sqlite3.Connection, *, count: int, as_json: bool, follow: bool, out: IO[str]) -> None:
    last = max(0, audit.head(connection).seq - max(count, 0))
    while True:
        for record in audit.records(connection, after=last):
            out.write(f"{json.dumps(record) if as_json else line(record)}\n")
            last = int(str(record["seq"]))
        out.flush()
        if not follow or _nobody_reads(out):
            return


def _nobody_reads(out: IO[str]) -> bool:
    """Wait a moment; whether the reader of a pipe went away meanwhile, which only a write would tell otherwise."""
    try:
        descriptor = out.fileno()
    except (OSError, ValueError):
        time.sleep(_PAUSE)
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(_PAUSE * 1000))


def line(record: Mapping[str, object]) -> str:
    """One event for people."""
    skip = {"seq", "time", "event", "prev", "hash", "key", "facts"}
    shown = [str(record["time"]), str(record["event"])]
    if record["event"] == "decision":
        who = f"{record.get('user_id')}-{record.get('user_login')}" if record.get("user_id") else record.get("subject")
        shown += [
            str(record["verdict"]),
            _word(who),
            _word(record.get("scope")),
            "at",
            _word(record.get("relying_party")),
        ]
        if record.get("reason"):
            shown.append(f"rule {record['rule']}: {record['reason']}")
        if record.get("origin") == "pipeline":
            shown.append(f"job {_word(record.get('subject'))}")
        if record.get("session"):
            shown.append(f"session {_word(record['session'])}")
        shown.append(f"id {record.get('id')}")
    else:
        shown += [f"{k}={_word(v)}" for k, v in record.items() if k not in skip and v not in (None, [])]
    return one_line(" ".join(shown), _LONGEST_LINE)


def _word(value: object) -> str:
    """A field as one word, so that none can look like the field after it."""
    if isinstance(value, list):
        return ",".join(_word(item["scope"] if isinstance(item, dict) and "scope" in item else item) for item in value)
    text = one_line(json.dumps(value) if isinstance(value, bool) else str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text


def audit_verify(config_path: Path, *, head: str | None = None) -> Outcome:
    """Walk the chain, against a head told outside: ``--head SEQ:HASH``, and the one beside the data base."""

    def work() -> str:
        folder = configuration.load(config_path).state
        with contextlib.closing(state.connect(folder, readonly=True)) as connection:
            known = _heads(folder, head)
            found = [audit.verify(connection, one) for one in (known or (None,))]
        for last, flaw in found:
            if flaw is not None:
                raise heads.broken(flaw, f"records up to {last.seq} are sound; restore the rest from a backup")
        ok = f"audit ok: {found[0][0].seq} records, head {found[0][0]}"
        return ok if known else f"{ok}; there was no head to compare with, so the end may have been cut off"

    return _attempt(work)


def _heads(folder: Path, told: str | None) -> list[Head]:
    try:
        given = [] if told is None else [Head.parse(told)]
    except ValueError:
        msg = "a head is SEQ:HASH, as the issuer prints it each minute"
        raise ConfigError(msg, "run: juniper audit verify --head SEQ:HASH") from None
    beside = heads.read(folder)
    return given if beside is None else [*given, beside]


# --- administration ---------------------------------------------------------------------------------------------------


def _act(config_path: Path, verb: str, params: Mapping[str, object]) -> Document:
    """Through the running issuer; where none runs, under its lock by ourselves."""
    config = configuration.load(config_path)
    answer = admin.ask(config.state, verb, params)
    return asyncio.run(_alone(config, verb, params)) if answer is None else answer


async def _alone(config: IssuerConfig, verb: str, params: Mapping[str, object]) -> Document:
    with contextlib.closing(state.State(config.state)) as opened:

        def policy() -> Policy:
            return policy_file.load(config.policy, config.relying_parties, sandbox=config.sandbox)

        desk = Desk(
            state=opened,
            keys=lambda: Keys(config.keys, now=time.time()),
            policy=policy,
            reload=policy,
            clock=time.time,
            ended=lambda: None,  # the issuer looks when it starts
        )
        return await desk.act(verb, params)


def _lines(document: Document) -> str:
    return json.dumps(document, indent=1)


def _denial(user: int | None, scope: str | None) -> Document:
    if user is not None:
        return {"kind": "user", "value": str(user)}
    return {"kind": "scope", "value": scope} if scope is not None else {"kind": "all", "value": ""}


def deny(config_path: Path, *, user: int | None = None, scope: str | None = None, everybody: bool = False) -> Outcome:
    """Deny at once, and print what cuts the credentials that are out."""

    def work() -> str:
        if (user is not None) + (scope is not None) + everybody != 1:
            msg = "a denial is of one user id, one scope, or all"
            raise ConfigError(msg, "run: juniper issuer deny --user ID, --scope NAME or --all")
        found = _act(config_path, "deny", _denial(user, scope))
        cuts = found.get("cuts")
        kind, value = found["denied"], found["value"]
        told = [f"denied: {kind} {value}".rstrip(), "credentials already out live until they expire; to cut them:"]
        return "\n".join(
            [*told, *(one_line(str(cut), _LONGEST_LINE) for cut in (cuts if isinstance(cuts, list) else []))]
        )

    return _attempt(work)


def undeny(config_path: Path, *, user: int | None = None, scope: str | None = None, everybody: bool = False) -> Outcome:
    """Undo a denial."""

    def work() -> str:
        if (user is not None) + (scope is not None) + everybody != 1:
            msg = "a denial is of one user id, one scope, or all"
            raise ConfigError(msg, "run: juniper issuer deny --undo with --user ID, --scope NAME or --all")
        undone = _act(config_path, "undeny", _denial(user, scope))["undone"]
        return "the denial is undone" if undone else "there was no such denial"

    return _attempt(work)


def denial_list(config_path: Path) -> Outcome:
    """The denials in force."""
    return _attempt(lambda: _lines(_act(config_path, "denials", {})))


def link_list(config_path: Path) -> Outcome:
    """Every link of a sign-in with a GitLab user."""
    return _attempt(lambda: _lines(_act(config_path, "link_list", {})))


def link_remove(config_path: Path, user_id: int) -> Outcome:
    """Undo the links of a GitLab user."""
    return _attempt(lambda: f"links removed: {_act(config_path, 'link_remove', {'user_id': user_id})['removed']}")


def pins_free(config_path: Path, user_id: int) -> Outcome:
    """Free the keys of a GitLab user's sign-ins."""
    return _attempt(lambda: f"keys freed: {_act(config_path, 'pins_free', {'user_id': user_id})['freed']}")


def keys_list(config_path: Path) -> Outcome:
    """The published signing keys."""
    return _attempt(lambda: _lines(_act(config_path, "keys_list", {})))


def keys_rotate(config_path: Path) -> Outcome:
    """Make the next signing key; it is published now and signs later."""

    def work() -> str:
        made = _act(config_path, "keys_rotate", {})
        return f"key {made['kid']} is published and signs from {made['signs_from']}"

    return _attempt(work)


def keys_replace(config_path: Path) -> Outcome:
    """Sign with a new key at once and publish no other, and print what each relying party still needs."""

    def work() -> str:
        found = _act(config_path, "keys_replace", {})
        dropped, steps = found["dropped"], found["steps"]
        told = [f"key {found['kid']} signs from now on; no longer published: {_word(dropped)}"]
        told.append("whoever has an old key is still believed where it is remembered; at each relying party, now:")
        return "\n".join(
            [*told, *(one_line(str(s), _LONGEST_LINE) for s in (steps if isinstance(steps, list) else []))]
        )

    return _attempt(work)


def reload(config_path: Path) -> Outcome:
    """Have the running issuer read its policy anew; a broken file leaves the old in force."""

    def work() -> str:
        found = _act(config_path, "reload", {})
        return f"policy in force: {found['scopes']} scopes, {found['policy']}"

    return _attempt(work)


# --- back-up ----------------------------------------------------------------------------------------------------------


def back_up(config_path: Path, target: Path) -> Outcome:
    """A whole copy of the state, also while the issuer runs."""

    def work() -> str:
        head = backup.back_up(configuration.load(config_path).state, target)
        return f"written: {target}, the trail up to {head}\nnot in it: the signing keys, the reader token, the policy"

    return _attempt(work)


def restore(config_path: Path, source: Path) -> Outcome:
    """Put a copy back, everybody signed out."""

    def work() -> str:
        config = configuration.load(config_path)
        found = asyncio.run(backup.restore(config.state, source, clock=time.time))
        told = [f"restored: the trail up to {found.head}; every session ended, {found.signed_out} keys let go"]
        told += [f"the former state is kept: {found.kept}"] if found.kept else []
        if found.since is None:
            told.append("the former state cannot be read: deny again whoever was denied since the back-up was made")
        elif found.unlinked:
            told.append(f"links undone since the back-up stay undone: {found.unlinked}")
        return "\n".join([*told, "next: juniper issuer serve; everybody signs in anew"])

    return _attempt(work)


# --- what others are told ---------------------------------------------------------------------------------------------


def publish(config_path: Path, folder: Path) -> Outcome:
    """Discovery and key set as static files."""

    def work() -> str:
        config = configuration.load(config_path)
        now = time.time()
        try:
            files = discovery.publish(config, Keys(config.keys, now=now).jwks(now), folder)
        except OSError as error:
            msg = f"{folder} cannot be written ({error.strerror})"
            raise ConfigError(msg, "name a folder of your own") from None
        return "\n".join(str(f) for f in files)

    return _attempt(work)


def _scope(config: IssuerConfig, name: str) -> tuple[Policy, Scope]:
    policy = policy_file.load(config.policy, config.relying_parties, sandbox=config.sandbox)
    found = policy.scope(name)
    if found is None:
        msg = f"there is no scope '{name}'"
        raise ConfigError(msg, "run: juniper policy check")
    return policy, found


def trust_aws(config_path: Path, scope: str, *, form: str = "json", pin_role: bool = False) -> Outcome:
    """What IAM must be told for one scope, as ``json`` or ``terraform``."""

    def work() -> str:
        config = configuration.load(config_path)
        _, found = _scope(config, scope)
        make = aws.as_terraform if form == "terraform" else aws.as_json
        return make(found, issuer_url=config.url, pin_role=pin_role)

    return _attempt(work)


def trust_google(config_path: Path, scope: str, *, form: str = "commands", uploaded: bool = False) -> Outcome:
    """What Google Cloud must be told for one scope, as ``commands`` of gcloud or ``terraform``.

    With ``uploaded`` the provider is given the issuer's keys as they are published now, and fetches none.
    """

    def work() -> str:
        config = configuration.load(config_path)
        policy, found = _scope(config, scope)
        now = time.time()
        jwks = Keys(config.keys, now=now).jwks(now) if uploaded else None
        make = google.as_terraform if form == "terraform" else google.as_commands
        return make(policy, found, issuer_url=config.url, jwks=jwks)

    return _attempt(work)


def trust_kubernetes(config_path: Path, scope: str, *, form: str = "", ca_file: Path | None = None) -> Outcome:
    """What a cluster must be told for one scope.

    ``form`` is a version of the configuration, ``flags``, ``bindings`` or ``terraform``; without one it is what this
    cluster takes: the configuration, or EKS's access entry.
    """

    def work() -> str:
        config = configuration.load(config_path)
        policy, found = _scope(config, scope)
        if form == "bindings":
            return kubernetes.bindings(found)
        if form == "terraform":
            return eks.as_terraform(found)
        if not form and eks.party(found) is not None:
            return eks.as_commands(found)
        if form == "flags":
            return kubernetes.flags(policy, found, issuer_url=config.url, ca_file=str(ca_file or ""))
        ca = kubernetes.authority(ca_file) if ca_file else ""
        version = form or kubernetes.VERSIONS[0]
        return kubernetes.configuration(policy, found, issuer_url=config.url, version=version, ca=ca)

    return _attempt(work)
