"""The issuer's budgets: decisions with facts in hand, and whole tokens on one core."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from juniperd import config as configuration
from juniperd import jose
from juniperd.http import Http
from juniperd.issuer import config as issuer_configuration
from juniperd.issuer import policy_file
from juniperd.issuer.config import Identity
from juniperd.issuer.decision import decide
from juniperd.issuer.facts import Asked, Environment, Fact, Facts, Membership, Project, User
from juniperd.issuer.link_rule import LinkRule
from juniperd.issuer.policy import Policy
from juniperd.issuer.protection import Branch, Entry, Holder
from juniperd.issuer.selection import select
from juniperd.issuer.verdict import Case, Permitted, SignIn
from juniperd.jose import SigningKey
from tests.bench.company import SCOPE, Company
from tests.bench.figures import Figure, median

TOKENS = 200
PER_PROJECT = 10
IDENTITY = Identity(
    name="team",
    kind="oidc",
    issuer="https://idp.example.com",
    client_id="browser",
    device_client_id="device",
    scopes=("openid",),
    flow="device",
    display_name="Team",
    link=LinkRule("oidc", "sub"),
)
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Person:
    """A sign-in of the bench's own: an ID token and the key it is bound to."""

    token: str
    key: SigningKey
    api: str

    def headers(self, method: str, path: str, *, authorize: bool) -> dict[str, str]:
        """A fresh proof and, beyond ``/token``, the ID token it goes with."""
        proof = jose.dpop_proof(
            self.key,
            method=method,
            url=self.api + path,
            now=time.time(),
            jti=uuid.uuid4().hex,
            access_token=self.token if authorize else None,
        )
        return {"DPoP": proof, **({"Authorization": f"DPoP {self.token}"} if authorize else {})}


async def _person(http: Http, issuer: str) -> Person:
    """Sign in by device flow, which the sandbox's provider approves by itself, and pin a key."""
    about = (await http.request("GET", issuer + "/.well-known/juniper")).json()
    assert isinstance(about, dict)
    identity = about["identities"][0]
    metadata = (await http.request("GET", identity["issuer"] + "/.well-known/openid-configuration")).json()
    assert isinstance(metadata, dict)
    client = {"client_id": identity["device_client_id"]}
    asked = {**client, "scope": " ".join(identity["scopes"])}
    code = (await http.request("POST", metadata["device_authorization_endpoint"], form=asked)).json()
    assert isinstance(code, dict)
    grant = {**client, "grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": code["device_code"]}
    await asyncio.sleep(code.get("interval", 5))
    answer = (await http.request("POST", metadata["token_endpoint"], form=grant)).json()
    assert isinstance(answer, dict)
    person = Person(answer["id_token"], SigningKey.generate_es256(), about["api_url"])
    headers = person.headers("POST", "/sign-ins", authorize=True)
    pinned = await http.request("POST", person.api + "/sign-ins", headers=headers, json={})
    assert pinned.status == 201, pinned.body
    return person


async def chain(place: Company, times: int) -> float:
    """Seconds of the longest chain of upstream calls of one mint, as these upstreams answer now, connections open.

    GitLab's groups above the project, a group's protections, the person's level in that group, then STS: each waits for
    the answer before it.
    """
    loaded = configuration.load(Path(place.environ["JUNIPER_CONFIG"]))
    issuer = issuer_configuration.load(Path(place.environ["JUNIPER_ISSUER_CONFIG"]))
    reader = {"PRIVATE-TOKEN": issuer.gitlab.token().reveal()}
    took = []
    async with Http(ca_file=loaded.network.ca_file, plain_loopback=True) as http:
        person = await _person(http, loaded.issuer(None).url)
        for _ in range(times + 1):
            headers, form = _asked(person)
            issued = (await http.request("POST", person.api + "/token", headers=headers, form=form)).json()
            assert isinstance(issued, dict), issued
            begun = time.perf_counter()
            for path in ("projects/42/groups", "groups/5/protected_environments", "groups/5/members/all/7"):
                await http.request("GET", f"{issuer.gitlab.url}/api/v4/{path}", headers=reader)
            answer = await http.request("POST", issued["target"]["endpoint"], form=_assume_role(issued))
            took.append(time.perf_counter() - begun)
            assert answer.status == 200, answer.body
    return median(took[1:])


def _assume_role(issued: Mapping[str, Any]) -> dict[str, str]:
    target = issued["target"]
    return {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": target["role_arn"],
        "RoleSessionName": target["session_name"],
        "DurationSeconds": "3600",
        "WebIdentityToken": issued["access_token"],
    }


def _asked(person: Person) -> tuple[dict[str, str], dict[str, str]]:
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": person.token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "scope": SCOPE,
    }
    return person.headers("POST", "/token", authorize=False), form


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _listener(url: str) -> int:
    """The process that listens where the issuer does: its environment names the sandbox's configuration."""
    wanted = os.fsencode("serve")
    port = urlsplit(url).port
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and wanted in (entry / "cmdline").read_bytes().split(b"\0") and _listens(entry, port):
            return int(entry.name)
    msg = "no issuer runs here"
    raise RuntimeError(msg)


def _listens(process: Path, port: int | None) -> bool:
    inodes = {str(f.readlink()) for f in (process / "fd").iterdir()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(f"socket:[{r[9]}]" in inodes for r in rows if r[3] == "0A" and r[1].endswith(f":{port:04X}"))


async def _tokens(place: Company, *, forget: bool) -> float:
    """Tokens per second of the issuer's processor time; with ``forget`` GitLab is asked for every fact each time."""
    loaded = configuration.load(Path(place.environ["JUNIPER_CONFIG"]))
    async with Http(ca_file=loaded.network.ca_file, plain_loopback=True) as http:
        url = loaded.issuer(None).url
        person = await _person(http, url)
        pid = _listener(url)
        gate = asyncio.Semaphore(1 if forget else 8)

        async def one(headers: dict[str, str], form: dict[str, str]) -> None:
            async with gate:
                if forget:
                    place.juniper("issuer", "reload")
                answer = await http.request("POST", person.api + "/token", headers=headers, form=form)
                assert answer.status == 200, answer.body

        await one(*_asked(person))
        count = TOKENS // 4 if forget else TOKENS
        requests = [_asked(person) for _ in range(count)]
        before = _cpu(pid)
        await asyncio.gather(*(one(*request) for request in requests))
        return count / (_cpu(pid) - before)


def tokens(place: Company) -> Iterator[Figure]:
    """Whole tokens, DPoP and audit included, per second on one core."""
    detail = "of the issuer's processor time, its audit synced to disk"
    yield Figure(
        "issuer, tokens on one core, facts in hand", asyncio.run(_tokens(place, forget=False)), "/s", detail=detail
    )
    detail = "each with a reload of the policy before it"
    yield Figure(
        "issuer, tokens on one core, every fact asked", asyncio.run(_tokens(place, forget=True)), "/s", detail=detail
    )


# --- decisions --------------------------------------------------------------------------------------------------------

PARTY = '[relying_party.aws]\nkind = "aws"\naudience = "juniper:aws:111122223333"\n'
ENTRY = """[scope.scope-{n}]
about = "a scope of the bench"
project = "shop/p{p}"
project_id = {p}
environment = "staging"
role = "developer"
origins = ["laptop"]
access = "read"
[scope.scope-{n}.aws]
relying_party = "aws"
role_arn = "arn:aws:iam::111122223333:role/r{n}"
region = "eu-west-1"
"""


def _policy(scopes: int) -> Policy:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        (Path(folder) / "policy.toml").write_text(
            "version = 1\n" + "".join(ENTRY.format(n=n, p=1 + n // PER_PROJECT) for n in range(scopes))
        )
        (Path(folder) / "parties.toml").write_text("version = 1\n" + PARTY)
        return policy_file.load(Path(folder) / "policy.toml", Path(folder) / "parties.toml", sandbox=False)


def _facts(project: int) -> Facts:
    asked = Asked("bench", "in hand", 0.0)
    branches = tuple(Branch(f"release/{n}", (Entry(Holder.ROLE, 40),), (Entry(Holder.ROLE, 40),)) for n in range(20))
    return Facts(
        link=Fact(asked, 7),
        user=Fact(asked, User(7, "developer", "active", bot=False, locked=False, identities=frozenset())),
        project=Fact(asked, Project(project, f"shop/p{project}", 5, "shop", True, False, False, True, True)),
        membership=Fact(asked, Membership(30, None, active=True)),
        branches=Fact(asked, branches),
        tags=Fact(asked, ()),
        environment=Fact(asked, Environment(1, "staging", "staging", "staging", "available")),
        protected_environments=(Fact(asked, ()), Fact(asked, ())),
        groups=Fact(asked, frozenset({"shop"})),
    )


def _case(policy: Policy, name: str, facts: Facts) -> Case:
    scope = policy.scopes[name]
    selection = select(scope, environment=None, ref=None)
    return Case(policy, scope, SignIn(IDENTITY, "device", frozenset({"mfa"})), selection, facts, date(2026, 1, 1))


def _timed(work: object, times: int = 2000) -> float:
    assert callable(work)
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return median(took) * 1e6


def decisions() -> Iterator[Figure]:
    """One scope by name, and all scopes of a project, at three sizes of policy."""
    for size in (10, 1_000, 10_000):
        policy = _policy(size)
        name, project = f"scope-{size - 1}", 1 + (size - 1) // PER_PROJECT
        facts = _facts(project)
        assert isinstance(decide(_case(policy, name, facts)), Permitted), json.dumps(name)

        def one(policy: Policy = policy, name: str = name, facts: Facts = facts) -> None:
            decide(_case(policy, name, facts))

        def every(policy: Policy = policy, project: int = project, facts: Facts = facts) -> None:
            for scope in policy.of_project(project):
                decide(_case(policy, scope.name, facts))

        yield Figure(f"policy decision, {size} scopes, one by name", _timed(one), "µs", 50)
        detail = f"{PER_PROJECT} scopes a project"
        yield Figure(f"policy decision, {size} scopes, all of a project", _timed(every), "µs", 200, detail=detail)
