"""What is in a cluster when it starts, as values; a test or a company makes its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Container:
    """One container and what it has written so far; one that does not run has ended well."""

    name: str
    image: str
    log: tuple[str, ...] = ()
    running: bool = True
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod on a node of this cluster; `age` is in seconds when the cluster starts."""

    namespace: str
    name: str
    containers: tuple[Container, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    ip: str = "10.42.0.10"
    node: str = "node-1"
    age: float = 3600.0


@dataclass(frozen=True, slots=True)
class ConfigMap:
    """A config map."""

    namespace: str
    name: str
    data: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Everything there is at first; `default` and `kube-system` are in every cluster."""

    namespaces: tuple[str, ...] = ()
    pods: tuple[Pod, ...] = ()
    config_maps: tuple[ConfigMap, ...] = ()
