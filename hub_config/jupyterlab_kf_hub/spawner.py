"""KubeSpawner with hardware profiles: every way in is checked by one function, and an outage does not end it.

Every refusal is a ``SpawnException`` with a sentence: other errors count as the hub's own, and five in a row end a
hub of Zero to JupyterHub. What a person wrote is put into the pod's manifest when it is sent, never into a trait that
is formatted.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from jupyterhub.spawner import SpawnException
from kubernetes_asyncio.client.rest import ApiException
from kubespawner import KubeSpawner
from traitlets import Bool

from jupyterlab_kf import names, quantities, settings
from jupyterlab_kf.cluster import connection
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import KubeflowError, UsageError
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.manifests.capacity import Ground
from jupyterlab_kf.profiles import Catalogue, Hardware, Use, pod_template
from jupyterlab_kf.services import hardware
from jupyterlab_kf_hub import form, idle, options, waiting
from jupyterlab_kf_hub.reflectors import ENDURING

_START: Final = f"{names.DOMAIN}/start"
"""Annotation: which start of the server made the pod, so that a create whose answer was lost is recognised."""
_LOOK: Final = 5.0
"""Seconds that looking for free machines may take before the form goes without."""


class ProfileSpawner(KubeSpawner):  # type: ignore[misc]  # KubeSpawner has no annotations
    """A server as a pod under a hardware profile."""

    refuse_impossible = Bool(
        True,
        config=True,
        help="Refuse hardware that no machine of the cluster has. Turn it off where machines are added on demand.",
    )

    _wish: options.Wish | None = None
    _start_id = ""
    _hearing: idle.Hearing | None = None
    _callbacks: list[Any]

    # ------------------------------------------------------------------------------------------------ what is chosen

    def catalogue(self) -> Catalogue:
        """The hardware profiles, read again when their file changes."""
        return hardware.catalogue()

    def groups(self) -> list[str]:
        """The names of the person's groups."""
        return sorted(group.name for group in self.user.groups)

    async def ground(self) -> Ground:
        """The cluster's machines and what is free; nothing where that cannot be known now."""
        chosen = settings.load()
        client = Client(await asyncio.to_thread(connection.open_connection, connection.choose(chosen), chosen))
        try:
            async with asyncio.timeout(_LOOK):
                return await hardware.survey(client, self.namespace)
        except (KubeflowError, TimeoutError) as error:
            self.log.warning("What is free on the cluster is not known: %s", error)
            return Ground()
        finally:
            await client.close()

    def others(self) -> list[Hardware]:
        """The hardware of the person's servers that run or start, without this one."""
        found = []
        for spawner in self.user.spawners.values():
            if spawner is not self and spawner.name != self.name and spawner.active:
                try:
                    found.append(options.check(spawner.user_options or {}, self.catalogue(), self.groups()).hardware)
                except UsageError as error:  # it was allowed when it was started
                    self.log.warning("Server %r of %s: %s", spawner.name, self.user.name, error)
        return found

    async def offer(self) -> str:
        """The inside of the form."""
        try:
            return form.render(self.catalogue(), self.groups(), await self.ground(), self.user_options or {})
        except UsageError as error:
            self.log.exception("The hardware profiles cannot be read")
            raise SpawnException(
                "The list of hardware has a fault; who runs this hub finds it in the log",
                reason="profiles",
                status_code=500,
            ) from error

    def _options_from_form(self, formdata: Mapping[str, list[str]]) -> dict[str, Any]:
        return options.from_form(formdata)

    async def accept(self, said: Mapping[str, Any]) -> None:
        """Take the options, from whichever way in.

        Raises:
            SpawnException: they are wrong or not allowed.
        """
        try:
            wish = options.check(said, self.catalogue(), self.groups(), self.others())
        except UsageError as error:
            raise self._refused(error) from error
        if self.refuse_impossible:
            room = hardware.room_for(await self.ground(), wish.hardware)
            if not room.ever:
                raise SpawnException(f"{wish.hardware.profile.display_name}: {room.sentence}", reason="impossible")
        self._wish = wish
        # These two are told to the server by KubeSpawner as CPU_LIMIT, MEM_LIMIT and so on.
        requests, limits = wish.hardware.requests, wish.hardware.limits
        self.cpu_guarantee, self.cpu_limit = _cores(requests), _cores(limits)
        self.mem_guarantee, self.mem_limit = _bytes(requests), _bytes(limits)
        self._start_id = uuid.uuid4().hex

    @staticmethod
    def _refused(error: UsageError) -> SpawnException:
        sentence = error.message[:1].upper() + error.message[1:]
        return SpawnException(f"{sentence}. {error.hint}".rstrip(". ") + ".", reason="options")

    async def load_user_options(self) -> None:
        """Nothing: options were taken by :meth:`accept`. KubeSpawner's own looks for ``profile_list``."""

    # ------------------------------------------------------------------------------------------------------ the pod

    async def _make_create_pod_request(self, pod: Any, request_timeout: float) -> bool:
        """Create the pod. A create whose answer was late made it all the same: it is ours, and stays."""
        body = self.manifest(self.api.api_client.sanitize_for_serialization(pod))
        name = body["metadata"]["name"]
        try:
            await asyncio.wait_for(self.api.create_namespaced_pod(self.namespace, body), request_timeout)
        except TimeoutError:
            return False
        except ApiException as error:
            if error.status != 409:  # noqa: PLR2004  HTTP's Conflict
                raise self._unable(error) from error
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
            raise SpawnException(
                "The server was started without options being checked", reason="options", status_code=500
            )
        body = pod
        head = body.setdefault("metadata", {})
        head["annotations"] = {**(head.get("annotations") or {}), _START: self._start_id}
        main = next(one for one in body["spec"]["containers"] if one["name"] == "notebook")
        own = dict(self._wish.environment)
        if (allowed := self._wish.hardware.profile.idle_timeout) is not None:
            # Whoever may be idle only briefly says more often that they are not.
            own["JUPYTERHUB_ACTIVITY_INTERVAL"] = str(idle.interval(allowed))
        main["env"] = [entry for entry in main.get("env") or () if entry["name"] not in own] + pods.environment(own)
        try:
            return pod_template(body, self._wish.hardware, container="notebook")
        except UsageError as error:
            raise self._refused(error) from error

    @staticmethod
    def _unable(error: Any) -> Exception:
        """A refusal of the cluster in its own sentence; what is the hub's own fault stays an error."""
        try:
            said = str(json.loads(error.body or "{}").get("message") or error.reason)
        except ValueError:
            said = str(error.reason)
        if error.status == 403 and "exceeded quota" in said:  # noqa: PLR2004  HTTP's Forbidden
            sentence = f"The quota of your namespace does not allow it: {said}"
            refusal: Exception = SpawnException(sentence, reason="quota")
            return refusal
        failure: Exception = error
        return failure

    def is_pod_running(self, pod: Mapping[str, Any] | None) -> bool:
        """Whether the server is up; while it starts, a pod that never will is an answer too."""
        if pod is not None and self._start_future is not None and not self._start_future.done():
            reason = waiting.hopeless(pod)
            if reason:
                raise SpawnException(reason, reason="pod")
        return bool(super().is_pod_running(pod))

    async def poll_and_notify(self) -> int | None:
        """Whether it still runs; one that has been idle for longer than its profile lets it is stopped."""
        allowed = self.idle_timeout()
        if allowed is None or not self.ready or not self._idle(allowed):
            status: int | None = await super().poll_and_notify()
            return status
        self.log.warning(
            "Server %s had no work for %g s, its profile's idle time: it is stopped", self._log_name, allowed
        )
        heard, self._callbacks = self._callbacks, []
        self.stop_polling()
        try:
            for callback in heard:  # the hub's own: it takes the route away and stops the server
                await callback()
        except Exception:  # whatever kept it from stopping: it runs, and is looked at again
            self.log.exception("Server %s could not be stopped; it is tried again", self._log_name)
            self._callbacks = heard
            self.start_polling()
        return None

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

    def _idle(self, allowed: int) -> bool:
        at, row = idle.now(), self.orm_spawner
        hearing = self._hearing = self._hearing or idle.Hearing(at, at)
        hearing.look(at, self.poll_interval)
        active = max((one for one in (row.last_activity, row.started) if one), default=None)
        return idle.over(hearing, active, allowed)

    def _get_pod_port(self, pod: Mapping[str, Any]) -> int:
        given = json.loads((pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_PORTS) or "{}")
        for container in pod["spec"]["containers"]:
            for port in container.get("ports") or ():
                if port.get("name") == "notebook-port":
                    return int(given.get(str(port["containerPort"]), port["containerPort"]))
        raise KeyError(f"pod {pod['metadata']['name']} has no port 'notebook-port'")

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """What happens, in sentences, each once."""
        last, reached = "", 10
        yield {"progress": reached, "message": "Your server is asked for."}
        async for step in super().progress():
            event = step.get("raw_event")
            said = waiting.sentence(event) if event else str(step.get("message") or "").strip()
            reached = max(reached, int(step.get("progress") or 0))
            if said and said != last:
                last = said
                yield {"progress": reached, "message": said}

    # ------------------------------------------------------------------------------------------------- its own view

    async def _start_reflector(
        self,
        kind: str,
        reflector_class: type,
        replace: bool = False,  # noqa: FBT001, FBT002  KubeSpawner's signature
        **kwargs: Any,
    ) -> Any:
        """The reflector of a kind, shared by all servers, which does not give up and never ends the hub."""
        key = self._get_reflector_key(kind)
        known = self.__class__.reflectors.get(key)
        if known is not None and not replace:
            await asyncio.shield(known.first_load_future)
            return known
        fresh = ENDURING.get(kind, reflector_class)(parent=self, namespace=self.namespace, **kwargs)
        self.__class__.reflectors[key] = fresh
        try:
            await fresh.start()
        except BaseException:
            # Whoever comes next tries again.
            if self.__class__.reflectors.get(key) is fresh:
                del self.__class__.reflectors[key]
            if not fresh.first_load_future.done():
                fresh.first_load_future.cancel()
            raise
        if known is not None:
            await known.stop()
        return fresh


def _cores(amounts: Mapping[str, str]) -> float | None:
    return float(quantities.parse(amounts["cpu"])) if "cpu" in amounts else None


def _bytes(amounts: Mapping[str, str]) -> int | None:
    return int(quantities.parse(amounts["memory"])) if "memory" in amounts else None
