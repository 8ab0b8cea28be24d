"""``juniper issuer``: run the team's issuer, and steer the one that runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from juniperd.cli import show
from juniperd.errors import UsageError

if TYPE_CHECKING:
    from juniperd.issuer.commands import Outcome

EXAMPLES = """examples:
  juniper issuer serve --config /etc/juniper/issuer.toml
  juniper issuer reload
  juniper issuer deny --user 7
  juniper issuer deny --user 7 --undo
  juniper issuer keys rotate
  juniper issuer keys replace
  juniper issuer link list
  juniper issuer trust aws invoice-archive-writer --terraform
  juniper issuer trust google invoice-export-google --uploaded-jwks
  juniper issuer trust kubernetes billing-debugger --version v1beta1
  juniper issuer publish /srv/www/juniper
  juniper issuer backup /var/backups/juniper.db
  juniper issuer restore /var/backups/juniper.db"""

Verbs = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for what add_subparsers returns


def register(parser: argparse.ArgumentParser) -> None:
    """The issuer's verbs; all take ``--config``."""
    takes_config(parser)
    verbs = parser.add_subparsers(dest="issuer_verb", required=True, metavar="VERB")
    verbs.add_parser("serve", help="run the issuer in the foreground")
    verbs.add_parser("reload", help="read the policy files anew, whole or not at all")
    publish = verbs.add_parser("publish", help="write discovery and key set as static files")
    publish.add_argument("folder", type=Path, metavar="DIR")
    backup = verbs.add_parser("backup", help="copy the state, also of a running issuer; the keys are not in it")
    restore = verbs.add_parser("restore", help="put a copy back, everybody signed out; no issuer may run")
    for verb in (backup, restore):
        verb.add_argument("file", type=Path, metavar="FILE")
    _register_deny(verbs)
    _register_people(verbs)
    keys = verbs.add_parser("keys", help="the signing keys")
    about = "replace: a key was stolen; a new one signs at once, and what relying parties need is printed"
    keys.add_argument("action", choices=("list", "rotate", "replace"), help=about)
    _register_trust(verbs)
    for verb in verbs.choices.values():
        takes_config(verb, default=argparse.SUPPRESS)


def _register_trust(verbs: Verbs[argparse.ArgumentParser]) -> None:
    trust = verbs.add_parser("trust", help="what a relying party must be told to trust a scope's tokens")
    kinds = trust.add_subparsers(dest="kind", required=True, metavar="KIND")
    aws = kinds.add_parser("aws", help="IAM: the identity provider and the role's trust policy")
    aws.add_argument("--terraform", action="store_true", help="as Terraform (default: JSON)")
    aws.add_argument("--pin-role", action="store_true", help="demand the claim that names this one role")
    cloud = kinds.add_parser("google", help="a workload identity pool of its own, its provider, and the bindings")
    cloud.add_argument("--terraform", action="store_true", help="as Terraform (default: commands of gcloud)")
    about = "give Google the keys, where it cannot fetch them; again after each rotation"
    cloud.add_argument("--uploaded-jwks", action="store_true", help=about)
    cluster = kinds.add_parser("kubernetes", help="an API server's configuration, or EKS's access entry")
    form = cluster.add_mutually_exclusive_group()
    about = "v1: Kubernetes 1.34 and later (default); v1beta1: from 1.30; flags: before that"
    form.add_argument("--version", choices=("v1", "v1beta1", "flags"), default="", help=about)
    form.add_argument("--bindings", action="store_true", help="a Role to review, with its RoleBinding")
    form.add_argument("--terraform", action="store_true", help="EKS's access entry as Terraform")
    cluster.add_argument("--issuer-ca", type=Path, metavar="FILE", help="the CA of the issuer's certificate, as PEM")
    for kind in kinds.choices.values():
        kind.add_argument("scope", help="a scope of the policy that reaches such a relying party")
        takes_config(kind, default=argparse.SUPPRESS)


def _register_deny(verbs: Verbs[argparse.ArgumentParser]) -> None:
    deny = verbs.add_parser("deny", help="refuse a person, a scope or everybody at once, and print what cuts the rest")
    whom = deny.add_mutually_exclusive_group(required=True)
    whom.add_argument("--user", type=int, metavar="ID", help="a GitLab user's id")
    whom.add_argument("--scope", metavar="NAME")
    whom.add_argument("--all", action="store_true", dest="everybody")
    whom.add_argument("--list", action="store_true", dest="listed", help="the denials in force")
    deny.add_argument("--undo", action="store_true", help="end that denial")


def _register_people(verbs: Verbs[argparse.ArgumentParser]) -> None:
    link = verbs.add_parser("link", help="the links of sign-ins with GitLab users")
    link.add_argument("action", choices=("list", "remove", "free"), help="free: let go of a person's device keys")
    link.add_argument("--user", type=int, metavar="ID", help="a GitLab user's id")


def run(args: argparse.Namespace) -> int:
    """Do the verb."""
    from juniperd.app import run_issuer

    path = config_path(args.config)
    if args.issuer_verb == "serve":
        return run_issuer(path)
    return show.outcome("juniper issuer", _VERBS[args.issuer_verb](args, path))


def _reload(_args: argparse.Namespace, path: Path) -> Outcome:
    from juniperd.issuer import commands

    return commands.reload(path)


def _publish(args: argparse.Namespace, path: Path) -> Outcome:
    from juniperd.issuer import commands

    return commands.publish(path, args.folder)


def _backup(args: argparse.Namespace, path: Path) -> Outcome:
    from juniperd.issuer import commands

    act = commands.back_up if args.issuer_verb == "backup" else commands.restore
    return act(path, args.file)


def _deny(args: argparse.Namespace, path: Path) -> Outcome:
    from juniperd.issuer import commands

    if args.listed:
        return commands.denial_list(path)
    act = commands.undeny if args.undo else commands.deny
    return act(path, user=args.user, scope=args.scope, everybody=args.everybody)


def _link(args: argparse.Namespace, path: Path) -> Outcome:
    from juniperd.issuer import commands

    if args.action == "list":
        return commands.link_list(path)
    if args.user is None:
        msg = "whose link is not said"
        raise UsageError(msg, "add: --user ID")
    act = commands.link_remove if args.action == "remove" else commands.pins_free
    return act(path, args.user)


def _keys(args: argparse.Namespace, path: Path) -> Outcome:
    from juniperd.issuer import commands

    act = {"list": commands.keys_list, "rotate": commands.keys_rotate, "replace": commands.keys_replace}[args.action]
    return act(path)


def _trust(args: argparse.Namespace, path: Path) -> Outcome:
    from juniperd.issuer import commands

    if args.kind == "kubernetes":
        form = "bindings" if args.bindings else "terraform" if args.terraform else args.version
        return commands.trust_kubernetes(path, args.scope, form=form, ca_file=args.issuer_ca)
    if args.kind == "google":
        form = "terraform" if args.terraform else "commands"
        return commands.trust_google(path, args.scope, form=form, uploaded=args.uploaded_jwks)
    form = "terraform" if args.terraform else "json"
    return commands.trust_aws(path, args.scope, form=form, pin_role=args.pin_role)


_VERBS: dict[str, Callable[[argparse.Namespace, Path], Outcome]] = {
    "reload": _reload,
    "publish": _publish,
    "backup": _backup,
    "restore": _backup,
    "deny": _deny,
    "link": _link,
    "keys": _keys,
    "trust": _trust,
}


def takes_config(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """``--config``, before or after the verb it belongs to."""
    about = "issuer.toml (default: JUNIPER_ISSUER_CONFIG)"
    parser.add_argument("--config", type=Path, default=default, help=about)


def config_path(named: Path | None) -> Path:
    """The issuer's configuration, as named or from the environment."""
    path = named or os.environ.get("JUNIPER_ISSUER_CONFIG")
    if not path:
        msg = "no issuer configuration is named"
        raise UsageError(msg, "add: --config issuer.toml")
    return Path(path)
