"""``juniper``: arguments in, text out; one module per verb, imported when it is called.

``status`` and shell completion have 60 ms for everything, so nothing here imports more than it uses.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from juniperd.errors import JuniperError, UsageError

if TYPE_CHECKING:
    import argparse

FAILED = 1
"""What was asked was refused, or has failed; with :class:`UsageError`'s 2 a number that never changes."""

VERBS = {
    "login": "sign in, once for all tools",
    "logout": "end the sign-in and forget it",
    "lock": "nothing for any tool until it is unlocked",
    "unlock": "go on with the sign-in in the keyring",
    "whoami": "who is signed in, and at which issuer",
    "status": "what the agent holds, and until when",
    "session": "debugging sessions: open, extend, close, list",
    "debug": "a debugging session with a shell or one command in it",
    "exec": "one command with one scope in its environment",
    "ci": "one command in a job of GitLab's, with what the job holds",
    "token": "a token for an API, for curl or kept in a file",
    "doctor": "what is in the way, of all or of one tool, and its cure",
    "up": "start the agent",
    "down": "stop the agent",
    "setup": "configure this laptop, or one tool on it",
    "uninstall": "take out of this laptop all that juniper wrote",
    "completion": "the script that completes commands in bash, zsh or fish",
    "scopes": "what you may hold, and what you may not",
    "scope": "propose policy entries from a project's CI configuration",
    "explain": "why you may, or may not, hold a scope",
    "parity": "what a job of yours would hold of a scope, beside your laptop",
    "log": "your own sessions, mints, refusals and uses",
    "issuer": "run and steer the team's issuer",
    "minter": "run the team's minter of deploy tokens",
    "policy": "check, lint and test the issuer's policy files",
    "audit": "read and verify the issuer's trail",
    "sandbox": "a small company on loopback, to learn and to test",
}
"""Each verb, the name of its module in this folder, with its line of help."""
WARNED = frozenset({"whoami", "scopes", "scope", "explain", "parity", "session", "debug", "exec", "token", "doctor"})
"""The verbs that tell a person on a terminal, before all else, that the sign-in will end soon; ``status`` shows it."""


def _usage() -> str:
    lines = ["usage: juniper VERB [options]", ""]
    lines += [f"  {verb:<10} {line}" for verb, line in VERBS.items()]
    lines += [
        "",
        "examples:",
        "  juniper setup https://juniper.example.com",
        "  juniper login",
        "  juniper setup aws && aws --profile invoice-archive-writer s3 ls",
        "",
        "juniper VERB --help tells more; the manual is in docs/",
    ]
    return "\n".join(lines)


def parser_of(verb: str) -> argparse.ArgumentParser:
    """The arguments of a verb, which are its help and its page in the manual too."""
    import argparse

    module = import_module(f"juniperd.cli.{verb}")
    parser = argparse.ArgumentParser(
        prog=f"juniper {verb}",
        description=VERBS[verb],
        epilog=module.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.register(parser)
    _furnish(parser, module.EXAMPLES or parser.description or "")
    return parser


def _furnish(parser: argparse.ArgumentParser, examples: str) -> None:
    """Each verb below says what it does, and shows those of the examples that are its own."""
    import argparse

    for action in parser._actions:  # noqa: SLF001  # argparse has no other way to list them
        if not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # as above
            continue
        about = {choice.dest: choice.help for choice in action._choices_actions}  # noqa: SLF001  # as above
        for name, below in action.choices.items():
            below.description = below.description or about.get(name)
            own = [line for line in examples.splitlines() if f"{below.prog} " in f"{line} "]
            if own and below.epilog is None:
                below.epilog = "\n".join(["examples:", *own])
                below.formatter_class = argparse.RawDescriptionHelpFormatter
            _furnish(below, examples)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(_usage())
        return 0 if arguments else UsageError.exit_status
    verb, rest = arguments[0], arguments[1:]
    if verb in {"-V", "--version", "version"}:
        from juniperd import __version__

        print(f"juniper {__version__}")
        return 0
    if verb not in VERBS:
        raise _unknown(verb)
    module = import_module(f"juniperd.cli.{verb}")
    parser = parser_of(verb)
    before, command = _split(rest) if getattr(module, "TAKES_COMMAND", False) else (rest, [])
    args = parser.parse_args(before)
    args.command = command
    if verb in WARNED and not getattr(args, "json", False):
        from juniperd.cli import connection

        connection.warn()
    return int(module.run(args))


def _unknown(verb: str) -> UsageError:
    from difflib import get_close_matches

    close = get_close_matches(verb, VERBS, n=1)
    msg = f"no verb '{verb}'"
    return UsageError(msg, f"did you mean: juniper {close[0]}?" if close else "run: juniper --help")


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What is ours, and the command behind ``--``."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def main() -> int:
    """The console script: the verb's exit status, or one line and the error's."""
    try:
        return _dispatch(sys.argv[1:])
    except JuniperError as error:
        print(f"juniper: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, as `| head` does; nobody is left to tell
        return 141
