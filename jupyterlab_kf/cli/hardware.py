"""Hardware by name from a terminal: its profiles, the kernels under them, and a hub whose servers have them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from jupyterlab_kf.cli.saying import PROG, Commands, say
from jupyterlab_kf.errors import UsageError


def add(commands: Commands) -> None:
    """``profiles`` and ``kernels``."""
    _add_profiles(commands)
    _add_kernels(commands)


def _add_profiles(commands: Commands) -> None:
    said = "list the hardware that can be chosen by name, with what is free"
    added = commands.add_parser("profiles", prog=f"{PROG} profiles", help=said, description=said)
    added.add_argument("--for", dest="use", default="", metavar="USE", help="server, training, trial, serving, kernel")
    added.add_argument("--check", metavar="FILE", help="say what is wrong with a file; exit status 1 if anything is")
    added.set_defaults(run=_profiles)


def _profiles(options: argparse.Namespace) -> int:
    from jupyterlab_kf import settings
    from jupyterlab_kf.profiles import Use
    from jupyterlab_kf.services import hardware
    from jupyterlab_kf.widgets import text

    if options.check:
        return _check(Path(options.check))
    if options.use not in ("", *Use):
        raise UsageError(f"hardware profiles are not for {options.use!r}", hint=f"they are for {', '.join(Use)}")
    path = hardware.find(settings.load())
    if path is None:
        looked = "\n".join(f"  {place}" for place in settings.load().profiles_files)
        raise UsageError("there is no file of hardware profiles", hint=f"looked for:\n{looked}")
    offers = hardware.here(Use(options.use) if options.use else None)
    rows = []
    for one in offers:
        row, uses = one.profile, one.profile.used_for
        meant = "everything" if uses == tuple(Use) else ", ".join(uses)
        rows.append((row.slug, row.display_name, row.hardware(), meant, one.room.sentence))
    say(text.table(("profile", "name", "hardware", "for", "room"), rows))
    say(f"\nfrom {path}")
    return 0


def _check(path: Path) -> int:
    from jupyterlab_kf.profiles import check
    from jupyterlab_kf.widgets import text

    try:
        found, problems = check(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    for problem in problems:
        say(f"{path}:{problem.line}: {problem.message}")
    if not problems:
        say(f"{path}: {text.plural(len(found.profiles), 'profile')}, nothing wrong")
    return 1 if problems else 0


def _add_kernels(commands: Commands) -> None:
    said = "kernels under hardware profiles: the kernel specs that offer them"
    kernels = commands.add_parser("kernels", prog=f"{PROG} kernels", help=said, description=said)
    actions = kernels.add_subparsers(metavar="ACTION", required=True)
    for name, run, what in (
        ("list", _kernels_list, "say which profiles kernels may use, and which of them Jupyter offers"),
        ("install", _kernels_install, "write a kernel spec for each profile; remove those of profiles that are gone"),
        ("remove", _kernels_remove, "remove these kernel specs"),
    ):
        action = actions.add_parser(name, prog=f"{PROG} kernels {name}", help=what, description=what)
        action.set_defaults(run=run)
        if name != "list":
            where = action.add_mutually_exclusive_group()
            where.add_argument("--sys-prefix", action="store_true", help="in this environment (the default)")
            where.add_argument("--user", action="store_true", help="for you alone")
            where.add_argument("--prefix", metavar="FOLDER", help="in another environment")


def _kernels_list(_: argparse.Namespace) -> int:
    from jupyterlab_kf.services.kernels import specs
    from jupyterlab_kf.widgets import text

    rows = [
        (one.profile.slug, one.profile.hardware(), str(one.folder) if one.folder else "not installed")
        for one in specs.offered()
    ]
    say(text.table(("profile", "hardware", "kernel spec"), rows))
    return 0


def _kernels_install(options: argparse.Namespace) -> int:
    from jupyterlab_kf.services.kernels import specs

    written, removed = specs.install(_kernels_folder(options))
    for path in written:
        say(f"installed {path}")
    for path in removed:
        say(f"removed {path}")
    return 0


def _kernels_remove(options: argparse.Namespace) -> int:
    from jupyterlab_kf.services.kernels import specs

    for path in specs.remove(_kernels_folder(options)):
        say(f"removed {path}")
    return 0


def _kernels_folder(options: argparse.Namespace) -> Path:
    from jupyterlab_kf.services.kernels import specs

    return specs.folder(user=options.user, prefix=Path(options.prefix) if options.prefix else None)


def add_hub(commands: Commands) -> None:
    """``hub``: a program of its own."""
    said = "run a hub on this machine: log in, choose hardware, get JupyterLab"
    hub = commands.add_parser("hub", prog=f"{PROG} hub", help=said, description=said)
    hub.set_defaults(run=_hub)


def _hub(_: argparse.Namespace) -> int:
    from importlib.util import find_spec

    if not all(find_spec(name) for name in ("jupyterlab_kf_hub", "jupyterhub", "kubespawner")):
        raise UsageError("the hub is not installed", hint="install it with: pip install 'jupyterlab-kf[hub]'")
    # The hub is a program of its own, which imports this package and is never imported by it.
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab_kf_hub"])  # noqa: S606  our own words
    return 0
