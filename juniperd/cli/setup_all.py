"""``juniper setup URL``: the issuer, a sign-in, and each tool in turn; every one is shown and asked for by itself."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from dataclasses import dataclass, field

from juniperd.cli import setup_issuer, setup_sign_in, setup_tools, up
from juniperd.cli.setup_plan import PassedOver, Plan, Wish
from juniperd.errors import JuniperError, UsageError, one_line
from juniperd.setup import trusted
from juniperd.setup.trusted import Pin


@dataclass(slots=True)
class Tour:
    """One walk through what can be set up, and what became of each."""

    diff: bool
    yes: bool
    quiet: bool = False
    """Whether the person has seen the differences already."""
    written: list[str] = field(default_factory=list)
    as_it_was: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def visit(self, name: str, wish: Wish, *, named: bool) -> None:
        """One tool: planned, shown, asked for, written; whatever keeps it from that is no business of the next one's."""
        tool = setup_tools.tool(name)
        if not wish.undo and not named and not _installed(tool.PROGRAMS):
            self.passed_over.append(f"{name} (no {' or '.join(tool.PROGRAMS)} in PATH)")
            return
        try:
            self.take(name, tool.plan(wish), undo=wish.undo)
        except PassedOver as nothing:
            self.passed_over.append(f"{name} ({nothing.message})")
        except UsageError:
            raise
        except JuniperError as error:
            print(f"juniper: {name}: {error}", file=sys.stderr)
            self.failed.append(name)

    def take(self, name: str, plan: Plan, *, undo: bool = False) -> None:
        """Show a plan, and carry it out where somebody wants it."""
        if plan.empty:
            self.as_it_was.append(name)
            return
        if not self.quiet:
            print(f"\n{name}")
            plan.show()
        if self.diff:
            return
        if not undo and not agreed("write this?", yes=self.yes):
            self.passed_over.append(f"{name} (you said no)")
            return
        plan.carry_out()
        plan.tell()
        self.written.append(name)

    def summary(self, *, undo: bool = False) -> None:
        """A line for each kind of end."""
        rows = {
            "taken out" if undo else "written": self.written,
            "as it was": self.as_it_was,
            "passed over": self.passed_over,
            "failed": self.failed,
        }
        print()
        if not self.written and not self.failed:
            print("nothing to change")
        for title, names in rows.items():
            if names:
                print(f"{title:<12} {', '.join(names)}")


def agreed(question: str, *, yes: bool) -> bool:
    """Whether the person wants it; who is not there to say so is told what says it for them."""
    if yes:
        return True
    if not sys.stdin.isatty():
        msg = "nobody is here to say yes"
        raise UsageError(msg, "add: --yes --issuer-host HOST")
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        print()
        return False


def run(args: argparse.Namespace) -> int:
    """The issuer first; what needs a sign-in only where there is one."""
    pins = trusted.load()
    url = setup_issuer.url_of(args.what, pins)
    chosen = setup_tools.chosen(args.only)
    if args.undo:
        return _undo(url, args)
    pin = trusted.pin_of(pins, url) if pins is not None else None
    setup_issuer.check_host(url, args.issuer_host, yes=args.yes, pinned=pin is not None)
    setup_issuer.warn_of_others(pins)
    tour = Tour(diff=args.diff, yes=args.yes)
    tour.take("juniper.toml", Plan((setup_issuer.plan(url, pin),)))
    if not args.diff and tour.passed_over:
        print("nothing was written")
        return 0
    missing = _sign_in(tour, chosen, url)
    for name in chosen:
        if missing and setup_tools.tool(name).NEEDS_SIGN_IN:
            tour.passed_over.append(f"{name} (needs a sign-in)")
        else:
            tour.visit(name, Wish(), named=args.only is not None)
    return _end(tour, args, url=url, pin=pin, missing=missing)


def _sign_in(tour: Tour, chosen: tuple[str, ...], url: str) -> list[str]:
    """The issuers at which nobody is signed in, after the person was offered to."""
    if not any(setup_tools.tool(name).NEEDS_SIGN_IN for name in chosen):
        return []
    if not setup_sign_in.is_configured(url):
        return [url]
    missing = setup_sign_in.missing()
    if missing and not tour.diff and not tour.yes and sys.stdin.isatty():
        missing = setup_sign_in.offered(missing, agreed)
    return missing


def _end(tour: Tour, args: argparse.Namespace, *, url: str, pin: Pin | None, missing: list[str]) -> int:
    if tour.diff:
        for row in tour.passed_over:
            print(f"passed over: {row}")
    else:
        tour.summary()
    if missing:
        print(f"next: {_again(args, url, pin)}")
    elif not tour.diff:
        print("next: juniper status")
    return 1 if tour.failed or (missing and args.yes and args.only is not None) else 0


def _again(args: argparse.Namespace, url: str, pin: Pin | None) -> str:
    """What to run for the rest; an agent that runs has read ``juniper.toml`` as it was."""
    words = ["juniper setup", *([] if args.what is None and pin is not None else [url])]
    words += ["--diff"] if args.diff else []
    words += ["--yes"] if args.yes else []
    words += [f"--issuer-host {one_line(args.issuer_host, 200)}"] if args.issuer_host else []
    words += [f"--only {','.join(setup_tools.chosen(args.only))}"] if args.only else []
    restart = "juniper down; " if setup_sign_in.is_outdated() else ""
    return f"{restart}juniper login, then: {' '.join(words)}"


def _undo(url: str, args: argparse.Namespace) -> int:
    """Everything, where it was set up for this issuer alone; else what ``juniper.toml`` says of it."""
    current = setup_issuer.configured()
    urls = {entry.url for entry in current.issuers.values()} if current is not None else set()
    names = [e.name for e in current.issuers.values() if e.url == url.rstrip("/")] if current is not None else []
    tour = Tour(diff=args.diff, yes=True)
    if args.only is None and not args.diff and names:
        # Without the issuer in juniper.toml no later agent finds the sign-in, which its keyring may hold.
        with contextlib.suppress(JuniperError):
            up.ensure_agent()
    if urls <= {url.rstrip("/")}:
        for name in setup_tools.chosen(args.only):
            tour.visit(name, Wish(undo=True), named=True)
    else:
        print(
            f"the tools stay set up, for {', '.join(sorted(urls - {url.rstrip('/')}))}; run each again to have them so"
        )
    if args.only is None:
        tour.take("juniper.toml", Plan((setup_issuer.without(url),)), undo=True)
    if args.diff:
        return 1 if tour.failed else 0
    tour.summary(undo=True)
    ends = [f"juniper logout --issuer {name}; " for name in names if name in setup_sign_in.known() and not args.only]
    if setup_sign_in.runs():
        print(f"next: {''.join(ends)}juniper down")
    return 1 if tour.failed else 0


def _installed(programs: tuple[str, ...]) -> bool:
    path = os.environ.get("PATH")
    return not programs or any(shutil.which(program, path=path) for program in programs)
