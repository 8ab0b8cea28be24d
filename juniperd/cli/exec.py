"""``juniper exec``: one command with one scope, for tools that take credentials from nothing but their environment.

The one place where a credential of ours enters an environment. It is not renewed there, so a command that outlasts it is
better run by ``juniper debug``, whose tools ask anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from juniperd import config, paths
from juniperd.cli import child, connection, kindly, token
from juniperd.errors import UsageError, one_line
from juniperd.protocols import aws as aws_protocol
from juniperd.protocols import google as google_protocol
from juniperd.protocols import token as token_protocol
from juniperd.setup import session
from juniperd.setup.session import SOCKET, Row

EXAMPLES = """examples:
  juniper exec --scope invoice-archive-reader -- terraform plan
  juniper exec --scope billing-api-reader -- sh -c 'curl -H "Authorization: Bearer $JUNIPER_TOKEN" …'"""
TAKES_COMMAND = True
TOKEN = "JUNIPER_TOKEN"
"""Where a command finds the token for the scope's API."""
_FOLDER = "juniper-exec-"


def register(parser: argparse.ArgumentParser) -> None:
    """Which scope; what stands behind ``--`` is the command."""
    parser.add_argument("--scope", required=True, metavar="NAME", help="the scope that the command holds")
    parser.add_argument("--issuer", metavar="NAME", help="the issuer, where several are configured")


def run(args: argparse.Namespace) -> int:
    """The command's status; 2 where none is named, 1 where the scope is refused."""
    if not args.command:
        msg = "no command is named"
        raise UsageError(msg, f"write: juniper exec --scope {args.scope} -- COMMAND")
    issuer, row = _row(args)
    sandbox = config.load(paths.config_path()).sandbox
    held = child.with_authorities(session.held([row], [args.scope], issuer=issuer, sandbox=sandbox))
    credentials = dict(_credentials(row, issuer, sandbox=sandbox))
    bin_folder = Path(sys.argv[0]).resolve().parent
    place = _place()
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=place))
    try:
        environ = session.furnished(held, folder, os.environ.get(SOCKET, ""), os.environ, bin_folder)
        return child.run(args.command, environ | credentials)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place() -> Path:
    """Where the settings lie meanwhile: in memory where there is such a folder, else with our state."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and os.access(runtime, os.W_OK):
        return Path(runtime)
    place = paths.state_path()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def _sweep(place: Path) -> None:
    """Take away what those left who were killed: a folder whose maker does not live any more."""
    for left in place.glob(f"{_FOLDER}*-*"):
        maker = left.name.removeprefix(_FOLDER).partition("-")[0]
        try:
            os.kill(int(maker), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (OSError, ValueError, OverflowError):
            continue


def _row(args: argparse.Namespace) -> tuple[str, Row]:
    """The scope's row, and its issuer's name where several are configured."""
    issuers = connection.result("catalogue", {"issuer": args.issuer})["issuers"]
    found = issuers if isinstance(issuers, Mapping) else {}
    rows = [(str(name), row) for name, document in found.items() for row in document["scopes"]]
    matching = [(name, row) for name, row in rows if row.get("name") == args.scope]
    if len(matching) == 1:
        several = len(config.load(paths.config_path()).issuers) > 1
        return (matching[0][0] if several else ""), matching[0][1]
    if matching:
        msg = f"several issuers have a scope '{args.scope}'"
        raise UsageError(msg, f"add --issuer, one of {', '.join(name for name, _ in matching)}")
    msg = f"you can see no scope '{one_line(args.scope, 100)}'"
    seen = [str(row.get("name")) for _name, row in rows]
    raise UsageError(
        msg, kindly.guess(args.scope, seen, "write --scope {}", "mend its name, or ask whoever owns the policy")
    )


def _credentials(row: Row, issuer: str, *, sandbox: bool) -> Iterator[tuple[str, str]]:
    """What enters the environment: AWS's four variables, Google's access token, and a token for an API."""
    targets = row.get("targets")
    named = ["--scope", str(row["name"]), *(["--issuer", issuer] if issuer else [])]
    for target in targets if isinstance(targets, list) else []:
        if target["kind"] == "aws":
            said = json.loads(token.ask([aws_protocol.HELPER, *named]))
            yield "AWS_ACCESS_KEY_ID", said["AccessKeyId"]
            yield "AWS_SECRET_ACCESS_KEY", said["SecretAccessKey"]
            yield "AWS_SESSION_TOKEN", said["SessionToken"]
            yield "AWS_REGION", str(target["region"])
            yield "AWS_DEFAULT_REGION", str(target["region"])
            if sandbox and target.get("endpoint"):
                yield "AWS_ENDPOINT_URL", str(target["endpoint"])
        elif target["kind"] == "google":
            said = json.loads(token.ask([google_protocol.HELPER, *named, f"--{google_protocol.ACCESS}"]))
            # gcloud's own, and that of Terraform's provider.
            yield "CLOUDSDK_AUTH_ACCESS_TOKEN", said["token"]
            yield "GOOGLE_OAUTH_ACCESS_TOKEN", said["token"]
        elif target["kind"] == "api":
            words = [token_protocol.HELPER, "--audience", str(target["relying_party"]), *named]
            yield TOKEN, token.ask(words).decode().strip()
