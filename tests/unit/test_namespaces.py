"""The user's own namespace on a cluster with Kubeflow's profiles, as the server's answers tell it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, ForbiddenError, NotFoundError, UnreachableError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services import namespaces


class Answers:
    """Profiles, namespaces, and who asks; an error is raised where it stands."""

    def __init__(self, profiles: Any, spaces: Any = (), user: Any = "ada@example.com") -> None:
        self.lists = {namespaces.PROFILE: profiles, kinds.NAMESPACE: spaces}
        self.user = user

    async def list(self, kind: Kind, *, selector: str = "") -> list[Obj]:
        assert (kind is kinds.NAMESPACE) == (selector == namespaces.PART_OF)
        if isinstance(self.lists[kind], Exception):
            raise self.lists[kind]
        return list(self.lists[kind])

    async def request(self, *_args: Any, **_more: Any) -> Obj:
        if isinstance(self.user, Exception):
            raise self.user
        return {"status": {"userInfo": {"username": self.user}}}


def profile(name: str, owner: str, born: str = "2026-01-01T00:00:00Z") -> Obj:
    return {
        "kind": "Profile",
        "metadata": {"name": name, "creationTimestamp": born},
        "spec": {"owner": {"name": owner}},
    }


def space(name: str, owner: str) -> Obj:
    return {"kind": "Namespace", "metadata": {"name": name, "annotations": {"owner": owner}}}


ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.mark.parametrize(
    ("answers", "mine"),
    [
        (Answers([profile("bob", BOB), profile("ada", ADA)]), "ada"),
        (Answers([profile("new", ADA, "2026-03-01T00:00:00Z"), profile("old", ADA)]), "old"),
        (Answers([profile("bob", BOB)]), ""),
        (Answers(ForbiddenError("no"), [space("bob", BOB), space("ada", ADA)]), "ada"),
        (Answers(NotFoundError("no such kind"), []), ""),
        (Answers(ForbiddenError("no"), ForbiddenError("no")), ""),
        (Answers([profile("ada", ADA)], user=ApiError("old server", code=404)), ""),
    ],
)
async def test_it_is_that_of_the_profile_that_one_owns(answers: Answers, mine: str) -> None:
    assert await namespaces.of_user(cast("Client", answers)) == mine


async def test_a_server_that_is_away_is_no_answer() -> None:
    with pytest.raises(UnreachableError):
        await namespaces.of_user(cast("Client", Answers(UnreachableError("refused"))))
