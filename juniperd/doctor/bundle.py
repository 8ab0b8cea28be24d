"""The support file: what a stranger needs to help, in fields that are named here one by one.

Nothing is copied. Of the configuration and of the agent's word only these fields are taken, and the texts of findings,
which may repeat what a server said, lose home, e-mail addresses and whatever is long and random enough to be a secret.
"""

from __future__ import annotations

import json
import os
import platform
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from getpass import getuser
from pathlib import Path

from juniperd import __version__, paths
from juniperd.address import parts_of
from juniperd.config import Config
from juniperd.doctor.agent import REDIRECTS, SESSION
from juniperd.doctor.finding import Finding
from juniperd.doctor.laptop import Event, Laptop
from juniperd.errors import ConfigError, JuniperError, one_line
from juniperd.issuer_answers import objects
from juniperd.model import rfc3339
from juniperd.setup import aws, docker, git

VERSION = 1
VARIABLES = (
    *REDIRECTS,
    SESSION,
    *("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_ENDPOINT_URL"),
    *("KUBECONFIG", "KUBERC", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "GIT_CONFIG_GLOBAL"),
    *("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
    *("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "DBUS_SESSION_BUS_ADDRESS"),
)
"""Of these it is told whether they are set, never to what."""
_MAIL = re.compile(r"[^\s<>]*@[^\s<>]+")
"""An address, or a URL with a login in it, whose password may have any character."""
_NAMED = re.compile(r"((?:pass|secret|token|key)[a-z]*)=[^\s<>]+", re.IGNORECASE)
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:eyJ|gl[a-z]{2,6}-|gh[a-z]_|github_pat_|k8s-aws-v1\.|A[KS]IA)[A-Za-z0-9+/_=.~-]{12,}"
)
_WORD = re.compile(r"[A-Za-z0-9+/_=~-]{20,}")
_AWS = re.compile(r"[A-Za-z0-9+/]{40}")


class Scrubber:
    """Makes text fit to be sent to a stranger."""

    def __init__(self, home: Path, user: str) -> None:
        self._homes = sorted({str(home), str(home.resolve()), str(Path.home())} - {"/"}, key=len, reverse=True)
        self._user = re.compile(rf"(?<![A-Za-z0-9]){re.escape(user)}(?![A-Za-z0-9])") if len(user) > 1 else None

    def __call__(self, text: str) -> str:
        """One line without home, user name, addresses and what looks like a secret."""
        text = one_line(text)
        for home in self._homes:
            text = text.replace(home, "~")
        text = _MAIL.sub("<address>", text)
        text = _TOKEN.sub("<removed>", _NAMED.sub(r"\1=<removed>", text))
        if self._user is not None:
            text = self._user.sub("<user>", text)
        return _WORD.sub(lambda found: "<removed>" if _is_random(found[0]) else found[0], text)


def _is_random(word: str) -> bool:
    """Whether a long word looks drawn by lot: names have no digits among capitals and small letters."""
    mixed = all(re.search(kind, word) for kind in ("[A-Z]", "[a-z]", "[0-9]"))
    # With a slash in it, it is a path, or as long as a secret key of AWS is.
    drawn = mixed and ("/" not in word or _AWS.fullmatch(word) is not None)
    return drawn or re.fullmatch(r"[0-9A-Fa-f]{32,}", word) is not None


def _user() -> str:
    """The user's name; nothing to hide where the system has none for this number, as in a container."""
    try:
        return getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return ""


def document(laptop: Laptop, findings: Sequence[Finding], status: Event) -> dict[str, object]:
    """The whole of the file."""
    clean = Scrubber(laptop.home, _user())
    return {
        "version": VERSION,
        "made_at": rfc3339(laptop.clock()),
        "juniper": __version__,
        "python": platform.python_version(),
        "platform": {"system": platform.system(), "release": platform.release(), "machine": platform.machine()},
        "findings": [{name: _fit(value, clean) for name, value in one.shown.items()} for one in findings],
        "configuration": None if laptop.config is None else _configuration(laptop.config, clean),
        "agent": _agent(status, clean),
        "sign_ins": [_sign_in(one, clean) for one in objects(status.get("sign_ins"))],
        "leases": [_lease(one, clean) for one in objects(status.get("leases"))],
        "sessions": len(objects(status.get("sessions"))),
        "variables": {name: name in laptop.environ for name in VARIABLES},
        "files": [_file(path, clean) for path in _paths(laptop)],
    }


def write(path: Path, made: Mapping[str, object]) -> None:
    """A new file that nobody else may read; one that is there, or a link, is left alone."""
    text = json.dumps(made, indent=2) + "\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        msg = f"{path} is there already"
        raise ConfigError(msg, "name a file that is not") from None
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror})"
        raise ConfigError(msg, "name a file in a folder of your own") from None


def _fit(value: object, clean: Scrubber) -> object:
    """A value of one of four kinds; whatever else somebody sends in its place is left out."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    return clean(value) if isinstance(value, str) else None


def _taken(said: Mapping[str, object], names: Sequence[str], clean: Scrubber) -> dict[str, object]:
    return {name: _fit(said.get(name), clean) for name in names}


def _configuration(config: Config, clean: Scrubber) -> dict[str, object]:
    """``juniper.toml`` as it was understood, written anew."""
    network = config.network
    return {
        "issuers": [
            {
                "name": clean(one.name),
                "url": clean(one.url),
                "idp": clean(one.idp),
                "registries": {clean(host): clean(project) for host, project in one.hosts.registries.items()},
                "git": [clean(host) for host in sorted(one.hosts.git)],
            }
            for one in config.issuers.values()
        ],
        # Some proxies have a password in their URL.
        "proxy": None if network.proxy is None else clean(_without_user(network.proxy)),
        "no_proxy": [clean(host) for host in network.no_proxy],
        "ca_file": None if network.ca_file is None else clean(str(network.ca_file)),
        "store": config.store,
        "sandbox": config.sandbox,
    }


def _without_user(url: str) -> str:
    parts = parts_of(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def _agent(status: Event, clean: Scrubber) -> dict[str, object] | None:
    said = status.get("agent")
    if not isinstance(said, Mapping):
        return None
    store = said.get("store")
    names = ("version", "started_at", "clock_skew", "clock_note", "upgrade_note", "guard_note")
    kept = _taken(store, ("kind", "note"), clean) if isinstance(store, Mapping) else None
    return {**_taken(said, names, clean), "store": kept}


def _sign_in(said: Event, clean: Scrubber) -> dict[str, object]:
    """Without the person: who it is helps nobody."""
    names = ("issuer", "state", "bound", "ends_at", "ends_by", "seconds_left", "warning", "reason")
    return _taken(said, names, clean)


def _lease(said: Event, clean: Scrubber) -> dict[str, object]:
    return _taken(said, ("issuer", "scope", "kind", "expires_at", "seconds_left", "state", "problem"), clean)


def _paths(laptop: Laptop) -> Iterator[Path]:
    """The files that matter, and the folders of ours."""
    environ, home = laptop.environ, laptop.home
    config = paths.config_path(environ)
    yield from (config.parent, config, config.with_name("kubeconfig"), paths.state_path(environ))
    with suppress(JuniperError):
        socket = paths.socket_path(environ)
        yield from (socket.parent, socket)
    yield from (aws.config_file(environ, home), aws.credentials_file(environ, home))
    yield from (docker.config_file(environ, home), git.config_file(environ, home))
    if laptop.network.ca_file is not None:
        yield laptop.network.ca_file


def _file(path: Path, clean: Scrubber) -> dict[str, object]:
    """What a file is and who may do what with it; of its content nothing."""
    try:
        found = path.lstat()
    except OSError:
        return {"path": clean(str(path)), "kind": "none"}
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFSOCK: "socket"}
    return {
        "path": clean(str(path)),
        "kind": kinds.get(stat.S_IFMT(found.st_mode), "other"),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "mine": found.st_uid == os.getuid(),
    }
