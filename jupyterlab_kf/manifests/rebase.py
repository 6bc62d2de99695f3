"""An edit of an object on top of what somebody else made of it in the meantime.

Three versions of the same data: what both began with, what the user wrote, what there is now. What the user changed is
the user's, all else is as it is now. Pure data; refuses nothing, as what no cluster takes is the cluster's to say.
"""

from __future__ import annotations

from typing import Any, Final

_NOTHING: Final = object()


def rebase(base: Any, mine: Any, theirs: Any) -> Any:
    """``theirs`` with all that differs between ``base`` and ``mine``.

    Mappings are gone through key by key, and lists of the same length item by item; other lists are one value. Where
    both changed the same value it is ``mine``.
    """
    if mine == base:
        return theirs
    if theirs == base:
        return mine
    if isinstance(mine, dict) and isinstance(theirs, dict):
        before = base if isinstance(base, dict) else {}
        made = {
            name: rebase(before.get(name, _NOTHING), mine.get(name, _NOTHING), theirs.get(name, _NOTHING))
            for name in [*theirs, *(name for name in mine if name not in theirs)]
        }
        return {name: value for name, value in made.items() if value is not _NOTHING}
    lists = isinstance(base, list) and isinstance(mine, list) and isinstance(theirs, list)
    if lists and len(base) == len(mine) == len(theirs):
        return [rebase(*three) for three in zip(base, mine, theirs, strict=True)]
    return mine
