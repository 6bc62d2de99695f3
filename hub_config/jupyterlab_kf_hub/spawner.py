"""KubeSpawner with hardware profiles: every way in is checked by one function, and who waits is told why.

Every refusal is a ``SpawnException`` with a sentence: other errors count as the hub's own, and five in a row end a
hub of Zero to JupyterHub. What a person wrote is put into the pod's manifest when it is sent, never into a trait that
is formatted.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from jupyterhub.utils import exponential_backoff
from kubernetes_asyncio.client.rest import ApiException
from traitlets import Bool, Unicode

from jupyterlab_kf import kinds, names, quantities
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ForbiddenError, KubeflowError, NotFoundError, UsageError
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.manifests.capacity import Ground
from jupyterlab_kf.manifests.kernels import LABEL_PROFILE
from jupyterlab_kf.model import Cause, Explanation, Obj, meta
from jupyterlab_kf.profiles import Catalogue, Use, choose, pod_template
from jupyterlab_kf.services import hardware
from jupyterlab_kf_hub import form, idle, options, refusals, volumes, waiting
from jupyterlab_kf_hub.enduring import EnduringSpawner
from jupyterlab_kf_hub.outages import OUTAGES
from jupyterlab_kf_hub.refusals import Refusal
from jupyterlab_kf_hub.volumes import Shelf, Volume

_START: Final = f"{names.DOMAIN}/start"
"""Annotation: which start of the server made the pod, so that a create whose answer was lost is recognised."""
_GRANTED: Final = "granted"
"""In the state that the hub keeps of a server: what counts against its person's limits."""
_LOOK: Final = 5.0
"""Seconds that looking for free machines may take before the form goes without."""
_FRESH: Final = 5.0
"""Seconds after which what is free is looked at again for somebody who waits."""
_PAUSE: Final = 0.5
"""Seconds between two looks at what the hub knows of a pod that starts."""
_EARLY: Final = 10.0
"""Seconds before the end of a start's time at which it is given up."""
_MOST_NAMED: Final = 3
_ASKED: Final = "Your server is asked for."


class ProfileSpawner(EnduringSpawner):
    """A server as a pod under a hardware profile."""

    refuse_impossible = Bool(
        True,
        config=True,
        help="Refuse hardware that no machine of the cluster has. Turn it off where machines are added on demand.",
    )

    note = Unicode("", config=True, help="What the form says of the hardware here, below the list of it.")

    refused_wish: Mapping[str, Any] | None = None
    """On a person's default server: what was refused last, so that the form need not be filled in again."""

    _wish: options.Wish | None = None
    _granted: Mapping[str, str] | None = None
    _start_id = ""
    _ground_seen = Ground()
    _looked = 0.0
    _began = 0.0
    _pod_seen: float | None = None
    _volumes_look: asyncio.Future[set[str] | None] | None = None

    # ------------------------------------------------------------------------------------------------ what is chosen

    def catalogue(self) -> Catalogue:
        """The hardware profiles, read again when their file changes."""
        return hardware.catalogue()

    def groups(self) -> list[str]:
        """The names of the person's groups."""
        return sorted(group.name for group in self.user.groups)

    async def look(self) -> tuple[Ground, Shelf]:
        """The cluster's machines and the person's volumes; nothing where that cannot be known now."""
        self._looked = time.monotonic()
        try:
            async with self.cluster() as client:
                self._ground_seen, held = await asyncio.gather(self._ground(client), self._shelf(client))
        except KubeflowError as error:
            self.log.warning("The cluster cannot be looked at: %s", error)
            return Ground(), Shelf(self.pvc_name, None)
        return self._ground_seen, held

    async def _ground(self, client: Client) -> Ground:
        try:
            async with asyncio.timeout(_LOOK):
                return await hardware.survey(client, self.namespace)
        except (KubeflowError, TimeoutError) as error:
            self.log.warning("What is free on the cluster is not known: %s", error)
            return Ground()

    async def _shelf(self, client: Client) -> Shelf:
        try:
            async with asyncio.timeout(_LOOK):
                found = await self._claims(client)
        except (KubeflowError, TimeoutError) as error:
            self.log.warning("The volumes of %s are not known: %s", self.user.name, error)
            return Shelf(self.pvc_name, None)
        alone = bool(self.enable_user_namespaces)
        return volumes.shelf(found, home=self.pvc_name, person=self._owner(), alone=alone)

    async def _claims(self, client: Client) -> list[Obj]:
        try:
            return await client.list(kinds.PERSISTENT_VOLUME_CLAIM, self.namespace)
        except ForbiddenError:
            # The hub's right begins with the namespace, and the namespace with the first start.
            try:
                await client.get(kinds.NAMESPACE, "", self.namespace)
            except NotFoundError:
                return []
            raise

    def _owner(self) -> str:
        """The person as the value of a label, as KubeSpawner writes it on what is theirs."""
        return str(self._build_common_labels({})[volumes.OWNER])

    def others(self) -> list[Mapping[str, str]]:
        """What the person's servers were granted, without this one."""
        rest = (one for one in self.user.spawners.values() if one is not self and one.name != self.name)
        return [has for one in rest if (has := one.granted()) is not None]

    def granted(self) -> Mapping[str, str] | None:
        """What this server was granted when it started, whatever the file of profiles says by now.

        None where it has nothing. One that asks just now has not: of several that start at once as many begin as are
        allowed. One whose start was interrupted has until it has stopped.
        """
        if self._granted is not None:
            return self._granted
        if not self.active or self.pending == "spawn":
            return None
        try:
            return options.granted(options.chosen_hardware(self.user_options or {}, self.catalogue(), self.groups()))
        except UsageError as error:  # it is not allowed any more, and counts as a server at least
            self.log.warning("Server %r of %s: %s", self.name, self.user.name, error)
            return {}

    def get_state(self) -> dict[str, Any]:
        """What a hub that is restarted knows of the server."""
        state: dict[str, Any] = super().get_state()
        return state if self._granted is None else {**state, _GRANTED: dict(self._granted)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Know it again."""
        super().load_state(state)
        self._granted = state.get(_GRANTED)

    def clear_state(self) -> None:
        """Forget it: the server has stopped."""
        super().clear_state()
        self._granted = None

    async def offer(self) -> str:
        """The inside of the form."""
        try:
            ground, held = await self.look()
            return form.render(self.catalogue(), self.groups(), ground, self._last(), note=self.note, held=held)
        except UsageError as error:
            self.log.exception("The hardware profiles cannot be read")
            raise Refusal(
                "The list of hardware has a fault; who runs this hub finds it in the log",
                reason="profiles",
                status_code=500,
            ) from error

    def _options_from_form(self, formdata: Mapping[str, list[str]]) -> dict[str, Any]:
        return options.from_form(formdata)

    def _last(self) -> Mapping[str, Any]:
        """What was said last: what has just been refused, else of this server, else of any other of the person's."""
        refused = self.user.spawner.refused_wish
        if isinstance(refused, Mapping):
            return refused
        known = (self.user_options, self.user.spawner.user_options)
        return next((one for one in known if one and isinstance(one, Mapping)), {})

    async def accept(self, said: Mapping[str, Any]) -> None:
        """Take the options, from whichever way in.

        Raises:
            SpawnException: they are wrong or not allowed.
        """
        # The page that shows a refusal of any server has the form of the default one.
        self.user.spawner.refused_wish = said
        ground, held = await self.look()
        try:
            wish = options.check(said, self.catalogue(), self.groups(), self.others(), held)
        except UsageError as error:
            raise refusals.of(error) from error
        if self.refuse_impossible:
            room = hardware.room_for(ground, wish.hardware)
            if not room.ever:
                raise Refusal(f"{wish.hardware.profile.display_name}: {room.sentence}", reason="impossible")
        self.user.spawner.refused_wish = None
        self._wish, self._granted = wish, options.granted(wish.hardware)
        self._pvc_exists = False  # it was there once; whether it is, is asked for each start
        # These two are told to the server by KubeSpawner as CPU_LIMIT, MEM_LIMIT and so on.
        requests, limits = wish.hardware.requests, wish.hardware.limits
        self.cpu_guarantee, self.cpu_limit = _cores(requests), _cores(limits)
        self.mem_guarantee, self.mem_limit = _bytes(requests), _bytes(limits)
        self._start_id = uuid.uuid4().hex

    async def load_user_options(self) -> None:
        """Nothing: options were taken by :meth:`accept`. KubeSpawner's own looks for ``profile_list``."""

    # ------------------------------------------------------------------------------------------------- its volumes

    async def _make_create_pvc_request(self, pvc: Any, request_timeout: float) -> bool:
        """Create the home's claim, unless another workspace was chosen."""
        if self._wish is not None and self._wish.workspace is not None:
            return True
        try:
            return bool(await super()._make_create_pvc_request(pvc, request_timeout))
        except ApiException as error:
            raise refusals.by_cluster(error) from error

    async def get_pod_manifest(self) -> Any:
        """KubeSpawner's pod; the new volumes that were asked for are made first."""
        for volume in self._wish.new() if self._wish else ():
            await exponential_backoff(
                lambda volume=volume: self._unless_away(self._provide(volume)),
                f"The volume {volume.claim} could not be made",
                timeout=self.k8s_api_request_retry_timeout,
            )
        return await super().get_pod_manifest()

    async def _provide(self, volume: Volume) -> bool:
        """Make a volume as the home is made. One of the same name and size is what an earlier try left.

        Raises:
            SpawnException: there is another one by now, or the namespace may not have it.
        """
        body = self.api.api_client.sanitize_for_serialization(self.get_pvc_manifest())
        body["metadata"]["name"] = volume.claim
        body["spec"]["resources"]["requests"]["storage"] = volume.size
        create = self.api.create_namespaced_persistent_volume_claim(self.namespace, body)
        try:
            await asyncio.wait_for(create, self.k8s_api_request_timeout)
        except ApiException as error:
            if error.status != 409:  # noqa: PLR2004  HTTP's Conflict
                raise refusals.by_cluster(error) from error
            found = await self.api.read_namespaced_persistent_volume_claim(volume.claim, self.namespace)
            there = volumes.shelf(
                [self.api.api_client.sanitize_for_serialization(found)],
                home=self.pvc_name,
                person=self._owner(),
                alone=bool(self.enable_user_namespaces),
            )
            try:
                volumes.workspace(volume.claim, volume.size, there)
            except UsageError as other:
                raise refusals.of(other) from other
        return True

    # ------------------------------------------------------------------------------------------------------ the pod

    async def _ensure_namespace(self) -> None:
        try:
            await super()._ensure_namespace()
        except UsageError as error:
            raise refusals.of(error) from error

    async def _make_create_pod_request(self, pod: Any, request_timeout: float) -> bool:
        return await self._unless_away(self._created(pod, request_timeout))

    async def _created(self, pod: Any, request_timeout: float) -> bool:
        """Create the pod. A create whose answer was late made it all the same: it is ours, and stays."""
        body = self.manifest(self.api.api_client.sanitize_for_serialization(pod))
        name = body["metadata"]["name"]
        try:
            await asyncio.wait_for(self.api.create_namespaced_pod(self.namespace, body), request_timeout)
        except ApiException as error:
            if error.status != 409:  # noqa: PLR2004  HTTP's Conflict
                raise refusals.by_cluster(error) from error
            there = await self.api.read_namespaced_pod(name, self.namespace)
            if (there.metadata.annotations or {}).get(_START) == self._start_id:
                return True
            self.log.info("An earlier pod %s is in the way: it is deleted", name)
            await self.stop(now=True)
            return False
        return True

    def manifest(self, pod: dict[str, Any]) -> dict[str, Any]:
        """The pod under the chosen hardware, with the person's own environment.

        Raises:
            SpawnException: the hardware's volumes and the hub's collide.
        """
        if self._wish is None:
            raise Refusal("The server was started without options being checked", reason="options", status_code=500)
        body = pod
        head = body.setdefault("metadata", {})
        head["annotations"] = {**(head.get("annotations") or {}), _START: self._start_id}
        head["labels"] = {**(head.get("labels") or {}), LABEL_PROFILE: self._wish.hardware.profile.slug}
        main = next(one for one in body["spec"]["containers"] if one["name"] == "notebook")
        own = dict(self._wish.environment)
        if (allowed := self._wish.hardware.profile.idle_timeout) is not None:
            # Whoever may be idle only briefly says more often that they are not.
            own["JUPYTERHUB_ACTIVITY_INTERVAL"] = str(idle.interval(allowed))
        main["env"] = [entry for entry in main.get("env") or () if entry["name"] not in own] + pods.environment(own)
        volumes.mount(body, "notebook", self.pvc_name, self._wish.workspace, self._wish.volumes)
        try:
            return pod_template(body, self._wish.hardware, container="notebook")
        except UsageError as error:
            raise refusals.of(error) from error

    def is_pod_running(self, pod: Mapping[str, Any] | None) -> bool:
        """Whether the server is up; while it starts, that it never will is an answer too.

        Raises:
            SpawnException: it never will, or not in time.
        """
        if self._start_future is not None and not self._start_future.done():
            self._judge()
        return bool(super().is_pod_running(pod))

    def _judge(self) -> None:
        """Give up a start that leads to nothing, with the cause and the next step."""
        pod, now = self._pod(), time.monotonic()
        waited = now - self._began
        if pod and self._pod_seen is None:
            self._pod_seen = now
        # After an outage the cluster's own parts know late of what is there: nothing from before counts.
        lasted = min(now - (self._pod_seen or now), OUTAGES.quiet())
        found = self._why(pod) if pod else None
        given_up = pod is not None and waiting.hopeless(found, pod, lasted, grows=not self.refuse_impossible)
        if pod and given_up and not (found and found.cause is Cause.VOLUME_MISSING and self._may_have_volumes(pod)):
            raise Refusal(waiting.given_up(found), reason="pod")
        # A little before the hub does, which would not say why.
        if waited > self.start_timeout - min(_EARLY, self.start_timeout / 10):
            last = next((said for one in reversed(self._heard(pod)) if (said := waiting.sentence(one))), "")
            raise Refusal(waiting.given_up(found, last, self.start_timeout), reason="timeout", status_code=503)

    def _may_have_volumes(self, pod: Mapping[str, Any]) -> bool:
        """Whether all volumes of a pod are there after all, or that is not known yet.

        A scheduler that was cut off tells of claims that it has not heard of, and tells it again until it has.
        """
        if self._volumes_look is None:
            self._volumes_look = asyncio.ensure_future(self._volumes_there())
        if not self._volumes_look.done():
            return True
        there = self._volumes_look.result()
        if there is None or volumes.claims_of(pod) <= there:
            self._volumes_look = None  # the next time it is looked at again
            return True
        return False

    async def _volumes_there(self) -> set[str] | None:
        """The claims of the person; None while that cannot be known."""
        try:
            async with asyncio.timeout(_LOOK), self.cluster() as client:
                return {str(meta(one)["name"]) for one in await self._claims(client)}
        except (KubeflowError, TimeoutError) as error:
            self.log.warning("The volumes of %s are not known: %s", self.user.name, error)
            return None

    async def _start(self) -> str:
        """Start it, and see that its program stays: a start whose program ends again and again is given up."""
        self._began, self._pod_seen, self._volumes_look = time.monotonic(), None, None
        url = str(await super()._start())
        place, end = urlsplit(url), time.monotonic() + self.http_timeout
        while time.monotonic() < end and not await _listens(place.hostname, place.port):
            self._judge()
            await asyncio.sleep(_PAUSE)
        return url

    def _pod(self) -> Mapping[str, Any] | None:
        """The pod of this start, as the hub last saw it."""
        reflector = self.pod_reflector
        pod: Mapping[str, Any] | None = reflector.pods.get(f"{self.namespace}/{self.pod_name}") if reflector else None
        if pod is None or (pod["metadata"].get("annotations") or {}).get(_START) != self._start_id:
            return None
        return pod

    def _heard(self, pod: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
        """The events of the pod, oldest first."""
        reflector = self.event_reflector
        if pod is None or not reflector:
            return []
        return [one for one in reflector.events if one["involvedObject"].get("uid") == pod["metadata"]["uid"]]

    def _why(self, pod: Mapping[str, Any]) -> Explanation | None:
        return waiting.explained(pod, self._heard(pod), self._ground_seen)

    def idle_timeout(self) -> int | None:
        """Seconds that the server may be without work; None is for ever."""
        slug = (self.user_options or {}).get("hardware")
        try:
            known = self.catalogue()
        except UsageError as error:  # while the file has a fault, nobody's server is ended for it
            self.log.warning("How long servers may be idle is not known: %s", error)
            return None
        profile = known.find(slug) if slug else known.default(Use.SERVER, self.groups())
        return profile.idle_timeout if profile else None

    def _get_pod_port(self, pod: Mapping[str, Any]) -> int:
        given = json.loads((pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_PORTS) or "{}")
        for container in pod["spec"]["containers"]:
            for port in container.get("ports") or ():
                if port.get("name") == "notebook-port":
                    return int(given.get(str(port["containerPort"]), port["containerPort"]))
        raise KeyError(f"pod {pod['metadata']['name']} has no port 'notebook-port'")

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """What happens, in sentences, each once; and while it waits, why, behind whom, and what would be free."""
        told, last, reached = {""}, "", 10.0
        yield {"progress": int(reached), "message": _ASKED}
        if self._wish is not None and (notice := self._wish.hardware.profile.notice()):
            yield {"progress": int(reached), "message": f"{notice[:1].upper()}{notice[1:]}."}
        while True:
            over = self._start_future is not None and self._start_future.done()
            for text, step in await self._told():
                if text == last or (step and text in told):
                    continue
                last = text
                if step:
                    told.add(text)
                    # How many there will be is not known: each leads a third nearer to 90.
                    reached += (90 - reached) / 3
                yield {"progress": int(reached), "message": text}
            if over:
                return
            await asyncio.sleep(_PAUSE)

    def latest(self) -> str:
        """What a page that was just opened shows: the last that was told."""
        return next((text for text, _ in reversed(self._steps()) if text), _ASKED)

    async def _told(self) -> list[tuple[str, bool]]:
        """What there is to tell of the pod now, and whether that is a step forward."""
        pod = self._pod()
        found = self._why(pod) if pod else None
        if found and found.cause in waiting.FULL and time.monotonic() - self._looked > _FRESH:
            await self.look()
        return self._steps()

    def _steps(self) -> list[tuple[str, bool]]:
        pod = self._pod()
        if pod is None:
            return []
        steps = [(waiting.sentence(one), True) for one in self._heard(pod)]
        found = self._why(pod)
        if found is None:
            return steps
        if found.cause not in waiting.FULL or self._wish is None:
            return [*steps, (waiting.status(found), False)]
        name = self._wish.hardware.profile.display_name
        line = waiting.in_line(pod, self.pod_reflector.pods.values(), name)
        return [*steps, (waiting.status(found, line, self._free()), False)]

    def _free(self) -> list[str]:
        """The names of other hardware that this person may have and that would start now."""
        if self._wish is None or not self._ground_seen.machines:
            return []
        groups, others = self.groups(), self.others()
        limits = self.catalogue().limits_of(groups)
        found = []
        for offer in hardware.offers(self._ground_seen, self.catalogue().offered(Use.SERVER, groups)):
            try:
                options.within(choose(offer.profile), others, limits)
            except UsageError:
                continue
            if offer.room.now and offer.profile.slug != self._wish.hardware.profile.slug:
                found.append(offer.profile.display_name)
        return found[:_MOST_NAMED]


async def _listens(host: str | None, port: int | None) -> bool:
    """Whether somebody takes connections there."""
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _cores(amounts: Mapping[str, str]) -> float | None:
    return float(quantities.parse(amounts["cpu"])) if "cpu" in amounts else None


def _bytes(amounts: Mapping[str, str]) -> int | None:
    return int(quantities.parse(amounts["memory"])) if "memory" in amounts else None
