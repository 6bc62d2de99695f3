"""What one object needs of others, such as Deployments and Services: made, kept as it should be, taken away. Pure.

Shared by the controllers of serving. Somebody else's object of a wanted name is never touched; what differs is found by
:mod:`.differences`, and why a Deployment is not ready is told by :mod:`.troubles`. Knows no kind of endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Create, Delete, Patch, View
from jupyterlab_kf.controllers.bringing import differences
from jupyterlab_kf.controllers.bringing.faults import ComponentError
from jupyterlab_kf.controllers.support import is_owned, name, namespace, terminating, uid
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, controller_of

__all__ = ["Bringing", "ComponentError", "Differ", "is_note"]

Differ = Callable[[Obj, Obj], Obj | None]
_DIFFERS: Final[Mapping[Kind, Differ]] = {
    kinds.SERVICE: differences.service,
    kinds.VIRTUAL_SERVICE: differences.exact,
    kinds.DESTINATION_RULE: differences.exact,
}
"""What is compared in another way than :func:`.differences.stored`, which needs what it compares to be stamped."""


def _quiet(_verb: str, _kind: Kind, _title: str) -> None:
    """Nothing is told."""


class Bringing:
    """Brings what one object needs closer to what it should be.

    Args:
        obj: the object, whose namespace they are in.
        view: the cluster.
        actions: what is to be done is added here.
        told: hears what is done: ``Create``, ``Update`` or ``Delete``, the kind and the name.
        adopts: an object of a wanted name that has no owner is taken for ours.
    """

    def __init__(
        self,
        obj: Obj,
        view: View,
        actions: list[Action],
        *,
        told: Callable[[str, Kind, str], None] = _quiet,
        adopts: bool = False,
    ) -> None:
        self._obj, self._view, self._actions, self._told, self._adopts = obj, view, actions, told, adopts

    def found(self, kind: Kind, title: str) -> Obj | None:
        """The object of that name.

        Raises:
            ComponentError: it is somebody else's.
        """
        found = self._view.get(kind, namespace(self._obj), title)
        if found is None or is_owned(found, uid(self._obj)):
            return found
        owner = controller_of(found)
        if owner is None and self._adopts:
            return found
        whose = "is somebody else's" if owner is None else f"belongs to {owner.get('kind')} {owner.get('name')} already"
        raise ComponentError(f'the {kind.kind} "{title}" that is needed {whose}')

    def owned(self, kind: Kind) -> list[Obj]:
        """What it has of a kind, but for what is going."""
        return [one for one in self._view.owned(kind, uid(self._obj)) if not terminating(one)]

    def bring(self, kind: Kind, wanted: Obj, differ: Differ | None = None) -> Obj | None:
        """The object, if it is there and as it should be; else what makes it so is done.

        Raises:
            ComponentError: that name is somebody else's.
        """
        found = self.found(kind, name(wanted))
        if found is None:
            self._actions.append(Create(kind, wanted if kind in _DIFFERS else differences.stamped(wanted)))
            self._told("Create", kind, name(wanted))
            return None
        if terminating(found):
            return None
        patch = (differ or _DIFFERS.get(kind, differences.stored))(wanted, found)
        if patch is None:
            return found
        self._actions.append(Patch(kind, namespace(found), name(found), uid(found), patch))
        if is_note(patch):
            return found
        self._told("Update", kind, name(wanted))
        return None

    def delete(self, kind: Kind, found: Obj) -> None:
        """Take an object away."""
        self._actions.append(Delete(kind, namespace(found), name(found), uid(found)))
        self._told("Delete", kind, name(found))


def is_note(patch: Obj) -> bool:
    """Whether a patch only notes down what was asked for last."""
    return set(patch) == {"metadata"} and set(patch["metadata"].get("annotations") or ()) == {differences.APPLIED}
