"""Docker's file: our helper for the registries that are held, and what keeps tools from asking it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Laptop
from juniperd.errors import ConfigError
from juniperd.model import Kind
from juniperd.protocols.docker import HELPER
from juniperd.setup import docker, files


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """The file, against what is held and what ``juniper.toml`` names."""
    path = docker.config_file(laptop.environ, laptop.home)
    try:
        config = docker.read(path, files.read(path))
    except ConfigError as error:
        yield Finding.of_error("docker", error)
        return
    held = {str(one.target.get("host")) for one in await laptop.held(Kind.REGISTRY)}
    ours = {host for host, name in config.helpers.items() if name == docker.SUFFIX}
    hosts = sorted(held | ours)
    if not hosts:
        return
    missing = sorted(held - set(config.helpers))
    lines = docker.shadows(config, hosts, laptop.environ, laptop.programs / HELPER) if ours or not missing else []
    for line in lines:
        yield Finding.of_line("docker", line)
    if missing and not ours:
        yield note("docker", f"{path} does not ask us for {', '.join(missing)}; {docker.COMMAND} has it do so")
    elif missing:
        yield Finding("docker", f"{path} does not ask us for {', '.join(missing)}", f"run: {docker.COMMAND}")
    elif not lines:
        yield Finding("docker", f"{path} asks us for {', '.join(sorted(ours))}")
