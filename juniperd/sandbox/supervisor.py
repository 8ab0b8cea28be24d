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

from juniperd.sandbox import control
from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.aws import AwsDouble
from juniperd.sandbox.children import Child, spawn, wait_for_agent, wait_for_issuer
from juniperd.sandbox.company import ACCOUNT, AUDIENCE, AWS_SCOPES, BUCKETS, CONTRACTOR, PEOPLE, REGION, company
from juniperd.sandbox.environment import environment, program
from juniperd.sandbox.files import IDENTITY, Addresses, bucket_policy, trust, write_certificates, write_files
from juniperd.sandbox.folder import NOTE, Folder, Note, SandboxError, private_run_dir
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.gitlab_sign_in import Application
from juniperd.sandbox.idp import IdpDouble, Person
from juniperd.sandbox.listening import free_ports
from juniperd.sandbox.places import Places
from juniperd.sandbox.processes import Process
from juniperd.sandbox.tls import Contexts
from juniperd.sandbox.verbs import Doubles, act
from juniperd.sandbox.warm import warm


def people() -> dict[str, Person]:
    """Everybody who can sign in."""
    return {name: Person(name, f"u-{name}", name.capitalize()) for name in (*PEOPLE, CONTRACTOR, "blocked")}


@dataclass(frozen=True, slots=True)
class IssuerUrls:
    """Where the issuer will answer, known before it is there."""

    public: str
    api: str

    @classmethod
    def free(cls) -> IssuerUrls:
        """On two free ports."""
        return cls(*(f"https://127.0.0.1:{port}" for port in free_ports(2)))


def make_doubles(account: AwsAccount, issuer: IssuerUrls, tls: Contexts) -> Doubles:
    """The doubles, each with its address taken and not yet serving."""
    token = ReaderToken(f"glpat-sandbox-{os.urandom(16).hex()}")
    return Doubles(
        IdpDouble(people()),
        GitLabDouble(company(), token),
        AwsDouble(account, tls.trusting),
        Places.furnished(account, issuer.public, tls),
    )


def addresses(doubles: Doubles, issuer: IssuerUrls) -> Addresses:
    """Where everything listens."""
    return Addresses(
        idp=doubles.idp.url,
        gitlab=doubles.gitlab.url,
        aws=doubles.aws.url,
        issuer=issuer.public,
        issuer_api=issuer.api,
        cluster=doubles.places.staging.url,
        eks=doubles.places.batch.url,
        api=doubles.places.api.url,
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


async def run(folder: Folder, ready_fd: int, without: Sequence[str], *, link_page: bool = False) -> None:
    """Bring everything up, say so on `ready_fd`, and serve until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        starting = asyncio.ensure_future(_start(folder, stack, without, link_page=link_page))
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


async def _start(folder: Folder, stack: AsyncExitStack, without: Sequence[str], *, link_page: bool) -> Note:
    run_dir = private_run_dir()
    stack.callback(shutil.rmtree, run_dir, ignore_errors=True)
    note = Note((Process.of("sandbox", os.getpid()),), str(run_dir))
    # From here on `down` finds this process, whatever becomes of it.
    folder.write(NOTE, note.to_json())
    account = AwsAccount(ACCOUNT, REGION)
    await asyncio.to_thread(account.start)
    stack.callback(account.stop)
    tls, issuer = write_certificates(folder), IssuerUrls.free()
    doubles = make_doubles(account, issuer, tls)
    at = addresses(doubles, issuer)
    secret = register_page(doubles, at)
    write_files(folder, at, reader_token=doubles.gitlab.token.value, page_secret=secret if link_page else None)
    furnish(account, at)
    for double in doubles.all():
        await stack.enter_async_context(double)
    children = await _start_children(folder, stack, run_dir, at, without)
    await warm(doubles, issuer=None if "issuer" in without else at.issuer)
    server = await control.serve(run_dir / "control.sock", lambda words: act(doubles, words))
    stack.callback(server.close)
    note = replace(note, processes=(*note.processes, *(child.process for child in children)), urls=asdict(at))
    folder.write(NOTE, note.to_json())
    return note


async def _start_children(
    folder: Folder, stack: AsyncExitStack, run_dir: Path, at: Addresses, without: Sequence[str]
) -> list[Child]:
    variables = environment(folder, run_dir) | {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(run_dir)}
    shared = {name: variables[name] for name in variables if name.startswith(("HOME", "XDG_"))}
    shared |= {"PATH": os.defpath, "LANG": "C.UTF-8"}
    children = []
    if "issuer" not in without:
        mine = shared | {"JUNIPER_ISSUER_CONFIG": variables["JUNIPER_ISSUER_CONFIG"]}
        issuer = await spawn(folder, "issuer", [str(program("juniper")), "issuer", "serve"], mine)
        stack.push_async_callback(issuer.end)
        await wait_for_issuer(issuer, at.issuer, folder / "ca.pem")
        children.append(issuer)
    if "agent" not in without:
        mine = shared | {name: variables[name] for name in ("JUNIPER_CONFIG", "JUNIPER_SOCKET")}
        agent = await spawn(folder, "agent", [str(program("juniperd"))], mine)
        stack.push_async_callback(agent.end)
        await wait_for_agent(agent, Path(variables["JUNIPER_SOCKET"]))
        children.append(agent)
    return children


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m juniperd.sandbox.supervisor --dir D --ready-fd N`; started by `up` alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--without", default="")
    parser.add_argument("--link-page", action="store_true")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    # Child processes must not hold the caller's pipe open.
    os.set_inheritable(args.ready_fd, False)  # noqa: FBT003  # the standard library takes it by position alone
    try:
        folder = Folder.at(args.dir)
        asyncio.run(run(folder, args.ready_fd, args.without.split(","), link_page=args.link_page))
    except SandboxError as problem:
        os.write(args.ready_fd, json.dumps({"problem": str(problem)}).encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
