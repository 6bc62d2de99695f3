"""What is known of a job at one moment: the only input of every explanation, and the reading of events into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyterlab_kf.manifests import pods, training
from jupyterlab_kf.model import Event, LogLine, Ref, Replica, Status, meta, parse_time

Tails = Mapping[str, Sequence[LogLine]]


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is known of a job at one moment.

    Attributes:
        events: of the job, its volume claims and its pods, oldest first.
        tails: the last lines by replica or rank.
        nodes: the cluster's machines; None where the account may not see them.
        now: epoch seconds; 0 when nothing may be concluded from time.
        noun: what it is to people: a job, or an endpoint whose version's pods stand for the replicas.
    """

    job: Mapping[str, Any]
    status: Status
    replicas: Sequence[Replica]
    pods: Sequence[Mapping[str, Any]] = ()
    events: Sequence[Event] = ()
    tails: Tails = field(default_factory=dict)
    nodes: Sequence[Mapping[str, Any]] | None = None
    now: float = 0.0
    noun: str = "job"

    @property
    def served(self) -> bool:
        """Whether it answers requests and has no end of its own."""
        return self.noun == "endpoint"

    @property
    def name(self) -> str:
        """The job's name."""
        return str(meta(self.job).get("name", ""))

    def pod(self, replica: Replica) -> Mapping[str, Any]:
        """A replica's pod, or an empty mapping."""
        return next((pod for pod in self.pods if meta(pod).get("name") == replica.pod), {}) if replica.pod else {}

    def about(self, name: str) -> list[Event]:
        """The events of the objects of a name, oldest first."""
        return [event for event in self.events if event.about.name == name]

    def said_of_job(self) -> list[Event]:
        """Warnings about the job itself, oldest first."""
        uid = meta(self.job).get("uid")
        return [event for event in self.events if event.type == "Warning" and event.about.uid == uid]

    def image(self) -> str:
        """The image that the replicas run."""
        template: Mapping[str, Any] = next(iter(training.templates(self.job).values()), {})
        containers = (template.get("spec") or {}).get("containers") or [{}]
        return str(containers[0].get("image", ""))

    def limit(self, replica: str, resource: str) -> str:
        """A replica's limit of a resource as it is written; empty when there is none."""
        role = replica.rpartition("-")[0]
        template = training.templates(self.job).get("worker" if role == "rank" else role, {})
        containers = (template.get("spec") or {}).get("containers") or [{}]
        return str(((containers[0].get("resources") or {}).get("limits") or {}).get(resource) or "")

    def ended(self, replica: Replica) -> Mapping[str, Any]:
        """How a replica's container ended the last time: the ``terminated`` state, or an empty mapping."""
        return pods.terminated(pods.main_status(self.pod(replica), training.container_of(self.job)))


def decode_event(obj: Mapping[str, Any]) -> Event:
    """An Event object of either API, decoded."""
    about = obj.get("involvedObject") or {}
    series = obj.get("series") or {}
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime")
    return Event(
        type=str(obj.get("type") or "Normal"),
        reason=str(obj.get("reason") or ""),
        message=str(obj.get("message") or ""),
        about=Ref(
            str(about.get("kind") or ""),
            str(about.get("name") or ""),
            str(about.get("namespace") or ""),
            str(about.get("uid") or ""),
        ),
        count=int(series.get("count") or obj.get("count") or 1),
        last=parse_time(last or meta(obj).get("creationTimestamp")),
        source=str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""),
    )


def who(replicas: Sequence[Replica]) -> str:
    """``worker-0``, or ``worker-0 and 3 more``."""
    more = len(replicas) - 1
    return f"{replicas[0].name} and {more} more" if more else replicas[0].name
