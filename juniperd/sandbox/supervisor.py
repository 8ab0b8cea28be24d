"""The process behind `juniper sandbox up`: the doubles in one event loop, issuer and agent as its children."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import aiohttp

from juniperd.sandbox import control, gitlab_files, google_cloud
from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.addresses import Addresses
from juniperd.sandbox.aws import AwsDouble
from juniperd.sandbox.children import Child, spawn, wait_for_agent, wait_for_server
from juniperd.sandbox.company import (
    ACCOUNT,
    AUDIENCE,
    AWS_SCOPES,
    BUCKETS,
    CONTRACTOR,
    IMAGES,
    MINTER,
    PEOPLE,
    REGION,
    company,
)
from juniperd.sandbox.environment import environment, program
from juniperd.sandbox.files import IDENTITY, write_certificates, write_files
from juniperd.sandbox.folder import NOTE, Folder, Note, SandboxError, private_run_dir
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.gitlab_sign_in import Application
from juniperd.sandbox.google import GoogleDouble
from juniperd.sandbox.idp import IdpDouble, Person
from juniperd.sandbox.image import Image, Pusher
from juniperd.sandbox.listening import Listening, free_ports
from juniperd.sandbox.places import Places
from juniperd.sandbox.policy_files import bucket_policy, trust
from juniperd.sandbox.processes import Process
from juniperd.sandbox.tls import Contexts
from juniperd.sandbox.verbs import Doubles, act
from juniperd.sandbox.warm import warm


def people() -> dict[str, Person]:
    """Everybody who can sign in."""
    return {name: Person(name, f"u-{name}", name.capitalize()) for name in (*PEOPLE, CONTRACTOR, "blocked")}


@dataclass(frozen=True, slots=True)
class ChildUrls:
    """Where issuer, minter and registry will answer, known before they are there."""

    public: str
    api: str
    minter: str
    registry: str

    @classmethod
    def free(cls) -> ChildUrls:
        """On free ports."""
        return cls(*(f"https://127.0.0.1:{port}" for port in free_ports(4)))


def minter_account() -> ReaderToken:
    """The account that makes deploy tokens."""
    return ReaderToken(f"glpat-sandbox-{os.urandom(16).hex()}", MINTER, scopes=("api",))


def make_doubles(account: AwsAccount, children: ChildUrls, tls: Contexts, repositories: Path) -> Doubles:
    """The doubles, each with its address taken and not yet serving."""
    token = ReaderToken(f"glpat-sandbox-{os.urandom(16).hex()}")
    idp = IdpDouble(people())
    gitlab = GitLabDouble(
        company(children.public),
        token,
        minter=minter_account(),
        git_folder=repositories,
        listening=Listening.with_tls(tls.serving),
    )
    # Whoever signs in at the identity provider by themselves does so here.
    gitlab.people.approval = lambda: idp.approval
    return Doubles(
        idp,
        gitlab,
        AwsDouble(account, tls.trusting),
        Places.furnished(account, children.public, tls),
        GoogleDouble(google_cloud.furnished(children.public), tls.trusting),
    )


def addresses(doubles: Doubles, children: ChildUrls) -> Addresses:
    """Where everything listens."""
    return Addresses(
        idp=doubles.idp.url,
        gitlab=doubles.gitlab.url,
        aws=doubles.aws.url,
        issuer=children.public,
        issuer_api=children.api,
        cluster=doubles.places.staging.url,
        eks=doubles.places.batch.url,
        api=doubles.places.api.url,
        minter=children.minter,
        registry=children.registry.partition("://")[2],
        google=doubles.google.url,
    )


def register_page(doubles: Doubles, at: Addresses) -> str:
    """Make the issuer's link page a client of both providers; its secret at GitLab."""
    secret = os.urandom(16).hex()
    doubles.idp.page = f"{at.issuer_api}/link/idp/{IDENTITY}"
    doubles.gitlab.sign_in.application = Application(secret, f"{at.issuer_api}/link/gitlab")
    return secret


def furnish(account: AwsAccount, at: Addresses) -> None:
    """Buckets, the issuer as IAM provider, and one role per scope."""
    for bucket in BUCKETS:
        account.add_bucket(bucket)
    provider = account.add_provider(at.issuer, [AUDIENCE])
    for scope in AWS_SCOPES:
        policy = trust(provider, at.issuer_host, scope)
        account.add_role(scope.name, trust=dict(policy), policy=dict(bucket_policy(scope)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to come up: not the programs in `without`; people linked on the page; this program as the registry."""

    without: Sequence[str] = ()
    link_page: bool = False
    registry: str = ""


async def run(folder: Folder, ready_fd: int, wanted: Wanted) -> None:
    """Bring everything up, say so on `ready_fd`, and serve until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        starting = asyncio.ensure_future(_start(folder, stack, wanted))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            return
        note = await starting
        os.write(ready_fd, note.to_json().encode())
        os.close(ready_fd)
        await stopping


async def _start(folder: Folder, stack: AsyncExitStack, wanted: Wanted) -> Note:
    run_dir = private_run_dir()
    stack.callback(shutil.rmtree, run_dir, ignore_errors=True)
    note = Note((Process.of("sandbox", os.getpid()),), str(run_dir))
    # From here on `down` finds this process, whatever becomes of it.
    folder.write(NOTE, note.to_json())
    account = AwsAccount(ACCOUNT, REGION)
    await asyncio.to_thread(account.start)
    stack.callback(account.stop)
    tls, urls = write_certificates(folder), ChildUrls.free()
    doubles = make_doubles(account, urls, tls, folder / "repositories")
    at = addresses(doubles, urls)
    secret = register_page(doubles, at)
    tokens = {"reader_token": doubles.gitlab.token.value, "minter_token": doubles.gitlab.minter_secret}
    write_files(folder, at, **tokens, page_secret=secret if wanted.link_page else None)
    folder.write(gitlab_files.BUNDLE, doubles.gitlab.registry_tokens.key.certificate())
    furnish(account, at)
    for double in doubles.all():
        await stack.enter_async_context(double)
    children = await _start_children(folder, stack, run_dir, at, wanted)
    if wanted.registry:
        await _fill_registry(doubles, at, tls)
    await warm(doubles, issuer=None if "issuer" in wanted.without else at.issuer)
    server = await control.serve(run_dir / "control.sock", lambda words: act(doubles, words))
    stack.callback(server.close)
    note = replace(note, processes=(*note.processes, *(child.process for child in children)), urls=asdict(at))
    folder.write(NOTE, note.to_json())
    return note


@dataclass(frozen=True, slots=True)
class _Server:
    """A child that serves: what it reads its settings from, and what it answers once it is there."""

    name: str
    command: tuple[str, ...]
    url: str
    status: int = 200
    needs: tuple[str, ...] = ()


def _servers(folder: Folder, at: Addresses, registry: str) -> list[_Server]:
    juniper = str(program("juniper"))
    well_known, health = f"{at.issuer}/.well-known/juniper", f"{at.minter}/healthz"
    found = [
        _Server("issuer", (juniper, "issuer", "serve"), well_known, needs=("JUNIPER_ISSUER_CONFIG",)),
        _Server("minter", (juniper, "minter", "serve"), health, needs=("JUNIPER_MINTER_CONFIG",)),
    ]
    if registry:
        command = (registry, "serve", str(folder / gitlab_files.REGISTRY_FILE))
        found.append(_Server("registry", command, f"https://{at.registry}/v2/", status=401))
    return found


async def _start_children(
    folder: Folder, stack: AsyncExitStack, run_dir: Path, at: Addresses, wanted: Wanted
) -> list[Child]:
    variables = environment(folder, run_dir) | {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(run_dir)}
    shared = {name: variables[name] for name in variables if name.startswith(("HOME", "XDG_"))}
    shared |= {"PATH": os.defpath, "LANG": "C.UTF-8"}
    children = []
    for server in _servers(folder, at, wanted.registry):
        if server.name not in wanted.without:
            mine = shared | {name: variables[name] for name in server.needs}
            child = await spawn(folder, server.name, server.command, mine)
            stack.push_async_callback(child.end)
            await wait_for_server(child, server.url, folder / "ca.pem", status=server.status)
            children.append(child)
    if "agent" not in wanted.without:
        mine = shared | {name: variables[name] for name in ("JUNIPER_CONFIG", "JUNIPER_SOCKET")}
        agent = await spawn(folder, "agent", [str(program("juniperd"))], mine)
        stack.push_async_callback(agent.end)
        await wait_for_agent(agent, Path(variables["JUNIPER_SOCKET"]))
        children.append(agent)
    return children


async def _fill_registry(doubles: Doubles, at: Addresses, tls: Contexts) -> None:
    """One image, pushed with a deploy token that is gone afterwards: nobody else holds one in a new sandbox."""
    tokens, project = doubles.gitlab.deploy_tokens, doubles.gitlab.world.project(IMAGES)
    token, secret = tokens.add(project.id, ("read_registry", "write_registry"), name="pipeline", expires_at=None)
    login = aiohttp.encode_basic_auth(token.username, secret)
    pusher = Pusher(f"https://{at.registry}", f"{at.gitlab}/jwt/auth", login, tls.trusting)
    await pusher.push(Image.of_file("srv/invoice.txt", b"invoice 1001\n"), f"{IMAGES}/api", "staging")
    tokens.rows.remove(token)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m juniperd.sandbox.supervisor --dir D --ready-fd N`; started by `up` alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--without", default="")
    parser.add_argument("--link-page", action="store_true")
    parser.add_argument("--registry", default="")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    # Child processes must not hold the caller's pipe open.
    os.set_inheritable(args.ready_fd, False)  # noqa: FBT003  # the standard library takes it by position alone
    try:
        folder = Folder.at(args.dir)
        wanted = Wanted(args.without.split(","), args.link_page, args.registry)
        asyncio.run(run(folder, args.ready_fd, wanted))
    except SandboxError as problem:
        os.write(args.ready_fd, json.dumps({"problem": str(problem)}).encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
