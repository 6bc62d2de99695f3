"""HTTP for studies: parse, one service call, JSON. Like :mod:`.routes`, which installs these."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyterlab_kf.handlers.base import NAME, Handler
from jupyterlab_kf.handlers.resources import STUDIES


class StudyHandler(Handler):
    """What the routes of studies share."""

    @property
    def answers(self) -> ModuleType:
        """The services; loaded by the first request."""
        from jupyterlab_kf.handlers import studyanswers

        return studyanswers


class StudyDeeds(StudyHandler):
    """What can be done with a study."""

    @web.authenticated
    @authorized("write", resource=STUDIES)
    async def post(self, namespace: str, name: str, deed: str) -> None:
        """End it or one ``trial``, let it go on or have more ``trials``, or train with the values of a ``trial``."""
        said = self.body()
        await self.reply(
            lambda: self.answers.DEEDS[deed](self.desk, (namespace, name), said), 201 if deed == "promote" else 200
        )


class StudyCopies(StudyHandler):
    """A study, said in four ways, and what it found."""

    @web.authenticated
    @authorized("read", resource=STUDIES)
    async def get(self, namespace: str, name: str) -> None:
        """With ``trial`` the values of that one instead of the best."""
        trial = self.get_query_argument("trial", "")
        await self.reply(lambda: self.answers.copies(self.desk, (namespace, name), trial))


class StudyTable(StudyHandler):
    """A study's trials as a file."""

    @web.authenticated
    @authorized("read", resource=STUDIES)
    async def get(self, namespace: str, name: str) -> None:
        """Comma-separated."""
        await self.download(lambda: self.answers.table(self.desk, (namespace, name)), f"{name}.csv", "text/csv")


class Trial(StudyHandler):
    """One trial."""

    @web.authenticated
    @authorized("read", resource=STUDIES)
    async def get(self, namespace: str, name: str) -> None:
        """What it was given, how it ended, its last lines."""
        await self.reply(lambda: self.answers.trial(self.desk, (namespace, name)))


class TrialLog(StudyHandler):
    """A trial's log as a file."""

    @web.authenticated
    @authorized("read", resource=STUDIES)
    async def get(self, namespace: str, name: str) -> None:
        """All lines."""
        await self.download(lambda: self.answers.log_text(self.desk, (namespace, name)), f"{name}.log", "text/plain")


_ONE: Final = rf"studies/{NAME}/{NAME}"
STUDY_ROUTES: Final = (
    (_ONE + "/(stop|stop-trial|resume|extend|promote)", StudyDeeds),
    (_ONE + "/copies", StudyCopies),
    (_ONE + "/csv", StudyTable),
    (rf"trials/{NAME}/{NAME}", Trial),
    (rf"trials/{NAME}/{NAME}/logs", TrialLog),
)
