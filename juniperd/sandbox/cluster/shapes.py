"""The API's objects, field by field, from the values in `state`.

Shapes: https://kubernetes.io/docs/reference/kubernetes-api/ (Pod, ConfigMap, Namespace).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from juniperd.sandbox.cluster.state import ConfigMap, Container, Pod

Document = dict[str, Any]


def rfc3339(moment: float) -> str:
    """A time as the API writes it, in whole seconds."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def namespace_object(name: str) -> Document:
    """A Namespace."""
    labels = {"kubernetes.io/metadata.name": name}
    return _head("Namespace", name, labels=labels) | {
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def config_map_object(row: ConfigMap) -> Document:
    """A ConfigMap."""
    found = _head("ConfigMap", row.name, row.namespace, dict(row.labels))
    return found | ({"data": dict(row.data)} if row.data else {})


def pod_object(row: Pod, started: float) -> Document:
    """A Pod that was scheduled and started at that moment."""
    phase = "Running" if any(one.running for one in row.containers) else "Succeeded"
    found = _head("Pod", row.name, row.namespace, dict(row.labels))
    found["metadata"]["creationTimestamp"] = rfc3339(started)
    spec: Document = {
        "containers": [_container(one) for one in row.containers],
        "restartPolicy": "Always" if phase == "Running" else "Never",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "nodeName": row.node,
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "priority": 0,
        "enableServiceLinks": True,
    }
    return found | {"spec": spec, "status": _pod_status(row, phase, rfc3339(started))}


def _head(kind: str, name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Document:
    metadata: Document = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"kind": kind, "apiVersion": "v1", "metadata": metadata | ({"labels": labels} if labels else {})}


def _container(row: Container) -> Document:
    return {
        "name": row.name,
        "image": row.image,
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }


def _pod_status(row: Pod, phase: str, since: str) -> Document:
    ready = all(one.running for one in row.containers)
    always = ("PodReadyToStartContainers", "Initialized", "PodScheduled")
    kinds = dict.fromkeys(always, True) | {"Ready": ready, "ContainersReady": ready}
    conditions = [_condition(kind, since, holds=holds) for kind, holds in kinds.items()]
    return {
        "phase": phase,
        "conditions": conditions,
        "hostIP": "10.42.0.1",
        "hostIPs": [{"ip": "10.42.0.1"}],
        "podIP": row.ip,
        "podIPs": [{"ip": row.ip}],
        "startTime": since,
        "containerStatuses": [_container_status(one, since) for one in row.containers],
        "qosClass": "BestEffort",
    }


def _condition(kind: str, since: str, *, holds: bool) -> Document:
    found: Document = {"type": kind, "status": "True" if holds else "False"}
    found |= {"lastProbeTime": None, "lastTransitionTime": since}
    return found if holds else found | {"reason": "PodCompleted"}


def _container_status(row: Container, since: str) -> Document:
    number = f"containerd://{row.name}"
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": since, "finishedAt": since, "containerID": number}
    return {
        "name": row.name,
        "state": {"running": {"startedAt": since}} if row.running else {"terminated": ended},
        "lastState": {},
        "ready": row.running,
        "restartCount": row.restarts,
        "image": row.image,
        "imageID": row.image,
        "containerID": number,
        "started": row.running,
    }
