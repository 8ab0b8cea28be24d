"""``juniper setup``: an issuer by its URL, or one tool's files; shown first, and undone on request."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from juniperd.errors import ConfigError, UsageError, one_line

if TYPE_CHECKING:
    from juniperd.config import Network
    from juniperd.setup.aws import Profile
    from juniperd.setup.issuer import Found

EXAMPLES = """examples:
  juniper setup https://juniper.example.com
  juniper setup https://juniper.example.com --yes --issuer-host juniper.example.com
  juniper setup aws --diff
  juniper setup aws
  juniper setup aws --undo
  juniper setup kubectl
  juniper setup docker --project shop/billing
  juniper setup git"""


def register(parser: argparse.ArgumentParser) -> None:
    """What to set up, and how careful to be."""
    parser.add_argument("what", metavar="URL|aws|kubectl|docker|git", help="the issuer's URL, or the tool to set up")
    parser.add_argument("--diff", action="store_true", help="show what would change and write nothing")
    parser.add_argument("--undo", action="store_true", help="take out what juniper wrote")
    parser.add_argument("--yes", action="store_true", help="do not ask; needs --issuer-host with a URL")
    parser.add_argument("--issuer-host", metavar="H", help="the host you expect the issuer to be")
    parser.add_argument("--project", metavar="GROUP/PROJECT", help="docker: what a bare registry's name means")
    parser.add_argument("--host", metavar="HOST", help="docker: the registry, where --project is at several")


def run(args: argparse.Namespace) -> int:
    """Set up the issuer or the tool."""
    if args.what != "docker" and (args.project is not None or args.host is not None):
        msg = "--project and --host say what a registry's name means"
        raise UsageError(msg, "run: juniper setup docker --project GROUP/PROJECT")
    if "://" in args.what:
        return _issuer(args)
    if args.what not in _TOOLS:
        msg = f"nothing to set up is called '{args.what}'"
        raise UsageError(msg, f"run: juniper setup {'|'.join(_TOOLS)}, or: juniper setup https://your-issuer")
    return _TOOLS[args.what](args)


def _kubectl(args: argparse.Namespace) -> int:
    from juniperd.cli import setup_kubectl

    return setup_kubectl.run(diff=args.diff, undo=args.undo)


def _docker(args: argparse.Namespace) -> int:
    from juniperd.cli import setup_docker

    return setup_docker.run(diff=args.diff, undo=args.undo, project=args.project, host=args.host)


def _git(args: argparse.Namespace) -> int:
    from juniperd.cli import setup_git

    return setup_git.run(diff=args.diff, undo=args.undo)


def _issuer(args: argparse.Namespace) -> int:
    from juniperd import config, paths
    from juniperd.config import Network
    from juniperd.setup import files, issuer

    path = paths.config_path()
    old = files.read(path)
    if args.undo:
        new = issuer.without_issuer(old, args.what)
    else:
        _check_host(args)
        before = config.load(path) if old else None
        network = before.network if before else issuer.shell_network(os.environ)
        found = asyncio.run(_discover(args.what, network, sandbox=before is not None and before.sandbox))
        _show(found, network)
        # What is already written of the network stays as the person wrote it.
        new = issuer.with_issuer(old, found, Network() if before else network)
    change = files.diff(path, old, new)
    print(change or f"{path}: nothing to change", end="" if change else "\n")
    if args.diff or not change or not (args.undo or _agreed(args)):
        return 0
    files.write(path, old, new)
    print(f"written: {path}\nnext: {_next(undone=args.undo)}")
    return 0


def _next(*, undone: bool) -> str:
    """What to run now; an agent that runs has read the file as it was."""
    from juniperd.cli.up import answers

    restart = "juniper down; " if answers() else ""
    return restart + ("juniper up" if undone else "juniper login")


def _check_host(args: argparse.Namespace) -> None:
    from juniperd.address import host_of

    host = host_of(args.what)
    if args.issuer_host is not None and host != args.issuer_host:
        msg = f"the URL leads to {host}, not to {args.issuer_host}"
        raise ConfigError(msg, "check the URL you were given")
    if args.yes and args.issuer_host is None:
        msg = "--yes asks nothing, so the host must be said twice"
        raise UsageError(msg, f"add: --issuer-host {host}")


async def _discover(url: str, network: Network, *, sandbox: bool) -> Found:
    from juniperd.http import Http
    from juniperd.setup import issuer

    http = Http(ca_file=network.ca_file, proxy=network.proxy, no_proxy=network.no_proxy, plain_loopback=sandbox)
    async with http:
        return await issuer.discover(url, http, sandbox=sandbox)


def _show(found: Found, network: Network) -> None:
    # The issuer is still a stranger: its words may not move the cursor over the lines the person decides by.
    print(one_line(f"issuer            {found.url}"))
    print(one_line(f"identity provider {found.idp_name} ({found.idp}), {found.flow} flow"))
    print(one_line(f"hosts             {', '.join(found.hosts)}"))
    if network.proxy:
        print(f"proxy             {network.proxy}")
    if network.ca_file:
        print(f"CA file           {network.ca_file}")
    for warning in found.warnings:
        print(f"warning: {one_line(warning)}", file=sys.stderr)


def _agreed(args: argparse.Namespace) -> bool:
    if args.yes:
        return True
    if not sys.stdin.isatty():
        msg = "nobody is here to say yes"
        raise UsageError(msg, "add: --yes --issuer-host HOST")
    return input("write this? [y/N] ").strip().lower() in {"y", "yes"}


def _aws(args: argparse.Namespace) -> int:
    from juniperd.setup import aws, files

    home = Path.home()
    path = aws.config_file(os.environ, home)
    old = files.read(path)
    profiles = [] if args.undo else _profiles()
    helper = Path(sys.argv[0]).resolve().with_name("juniper-aws")
    new = aws.with_profiles(old, profiles, helper)
    change = files.diff(path, old, new)
    print(change or f"{path}: nothing to change", end="" if change else "\n")
    credentials = files.read(aws.credentials_file(os.environ, home))
    for shadow in aws.shadows(profiles, credentials, os.environ):
        print(f"warning: {shadow}", file=sys.stderr)
    if args.diff or not change:
        return 0
    backup = files.write(path, old, new)
    print(f"written: {path}" + (f" (before: {backup})" if backup else ""))
    return 0


def _profiles() -> list[Profile]:
    """One profile per AWS scope the person holds; a name is prefixed where several issuers are configured."""
    from juniperd import config, paths
    from juniperd.cli import connection
    from juniperd.setup.aws import Profile

    sandbox = config.load(paths.config_path()).sandbox
    catalogues = connection.result("catalogue")["issuers"]
    if not isinstance(catalogues, dict):
        return []
    several = len(catalogues) > 1
    return [
        Profile(
            name=f"{issuer}-{scope['name']}" if several else scope["name"],
            scope=f"{issuer}/{scope['name']}" if several else scope["name"],
            region=target["region"],
            endpoint=(target.get("endpoint") or "") if sandbox else "",
        )
        for issuer, catalogue in catalogues.items()
        for scope in catalogue["scopes"]
        if scope["held"]
        for target in scope["targets"]
        if target["kind"] == "aws"
    ]


_TOOLS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "aws": _aws,
    "kubectl": _kubectl,
    "docker": _docker,
    "git": _git,
}
