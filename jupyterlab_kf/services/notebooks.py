"""A notebook as one Python program: its code cells in order, their borders kept, so that a traceback names the cell.

Pure: text in, values out. A cell's number is the one that "Restart Kernel and Run All Cells" would give it. What only a
notebook understands is dropped and told where a job does without (``%matplotlib inline``), turned into Python where
that is exact (``%%time``, ``%env``), and refused else, with cell and line. Parameters are set as papermill sets them:
in a cell after the one that is tagged ``parameters``. Nothing is executed, and no output of the notebook travels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from jupyterlab_kf.errors import BundleError

SUFFIX: Final = ".ipynb"
SKIPPED: Final = "skip-execution"
"""The tag with which a cell stays out; nbclient and Jupyter Book know it too."""
_PARAMETERS: Final = "parameters"
_INJECTED: Final = "injected-parameters"
_LEAVE_OUT: Final = f"tag the cell {SKIPPED!r} to leave it out of jobs"

_WITHOUT: Final = re.compile(
    r"aimport|autoreload|automagic|colors|config|doctest_mode|history|load_ext|lsmagic|matplotlib|pdb|pinfo2?|pprint|"
    r"precision|pwd|reload_ext|tensorboard|timeit|unload_ext|who|who_ls|whos|xmode|kf_\w+"
)
"""Line magics that a program does as well without."""
_SHOWN_ONLY: Final = re.compile(r"HTML|SVG|html|javascript|js|latex|markdown|svg|timeit|kf_\w+")
"""Cell magics whose cell leaves nothing behind in the program."""
_PACKAGES: Final = f"--install NAME has packages at the start of a job, if its image (--image) lacks them; {_LEAVE_OUT}"
_HINTS: Final = {
    **dict.fromkeys(("pip", "conda", "mamba", "micromamba", "uv"), _PACKAGES),
    "cd": f"a job runs in the folder of its notebook; use os.chdir, or {_LEAVE_OUT}",
    "run": "import the file and call what it has: it travels with the job",
}

_PIECE: Final = re.compile(
    r'#[^\n]*|"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"?|\'(?:\\.|[^\'\\\n])*\'?'
    r"|\\\n|[()\[\]{}\n]|[^#\"'\\()\[\]{}\n]+|.",
    re.DOTALL,
)
_MAGIC: Final = re.compile(r"(?P<indent>[ \t]*)%(?P<name>[A-Za-z_]\w*)[ \t]*(?P<rest>.*)$", re.DOTALL)
_CELL_MAGIC: Final = re.compile(r"%%(?P<name>[A-Za-z_]\w*)[ \t]*(?P<rest>.*)$")
_SHELL: Final = re.compile(r"[ \t]*!{1,2}\s*(?P<rest>.*)$", re.DOTALL)
_TIMED: Final = re.compile(r"(?P<target>[ \t]*[\w., ]+=\s*)%time\s+(?P<rest>.*)$", re.DOTALL)
_ASSIGNED: Final = re.compile(r"[ \t]*[\w., ]+=\s*(?P<sign>[!%])\s*(?P<rest>[^\s=].*)$", re.DOTALL)
_HELP: Final = re.compile(r"[ \t]*(\?{1,2}[\w.*%]+|%{0,2}[\w.*]+\?{1,2})[ \t]*$")
_VARIABLE: Final = re.compile(r"\{\w|\$\w|\$\{")
_MARK: Final = re.compile(r"# %% (?:cell (?P<number>\d+)|parameters)(?: tags=(?P<tags>\[.*\]))?$")
_ONE: Final = re.compile(rf"(?P<notebook>.+\{SUFFIX}) cell (?P<number>\d+)$")


@dataclass(frozen=True, slots=True)
class Cell:
    """One code cell, as Python. The number is 0 for the parameters that were set from outside."""

    number: int
    text: str
    tags: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """``cell 3``."""
        return f"cell {self.number}" if self.number else "parameters"


@dataclass(frozen=True, slots=True)
class Program:
    """A notebook's code.

    Attributes:
        name: of the notebook, as people know it.
        cells: what runs, in order.
        dropped: what does not, as ``cell 1: %matplotlib inline``.
    """

    name: str
    cells: tuple[Cell, ...]
    dropped: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One Python file, whose cells are marked as editors and jupytext mark them. :func:`from_text` reads it."""
        return "\n".join(line for cell in self.cells for line in (_mark(cell), *cell.text.split("\n"), ""))

    @property
    def spans(self) -> tuple[tuple[str, int, int], ...]:
        """For each cell its name in tracebacks, and where it is in the text: its first line and their number."""
        found, first = [], 2
        for cell in self.cells:
            count = cell.text.count("\n") + 1
            found.append((self.shown(cell), first, count))
            first += count + 2
        return tuple(found)

    def shown(self, cell: Cell) -> str:
        """The cell's name in tracebacks: ``train.ipynb cell 3``."""
        return f"{self.name} {cell.title}"

    def given(self, params: Mapping[str, object]) -> Program:
        """With parameters set where papermill sets them: after the cell tagged ``parameters``, or at the top."""
        if not params:
            return self
        text = "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in params.items())])
        cell = Cell(0, text, (_INJECTED,))
        tags = [one.tags for one in self.cells]
        old = next((place for place, found in enumerate(tags) if _INJECTED in found), None)
        if old is not None:
            return replace(self, cells=(*self.cells[:old], cell, *self.cells[old + 1 :]))
        place = next((place + 1 for place, found in enumerate(tags) if _PARAMETERS in found), 0)
        return replace(self, cells=(*self.cells[:place], cell, *self.cells[place:]))


def read(content: bytes, name: str) -> Program:
    """The program of a notebook file.

    Raises:
        BundleError: it is not a notebook of Python, or a cell has something that only a notebook can do.
    """
    try:
        document = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{name} is not a notebook: {error}", hint="open it in JupyterLab and save it") from error
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise BundleError(f"{name} is not a notebook of format 4", hint="open it in JupyterLab and save it")
    _refuse_language(document.get("metadata") or {}, name)
    cells: list[Cell] = []
    dropped: list[str] = []
    sources = (cell for cell in document["cells"] if cell.get("cell_type") == "code" and _source(cell).strip())
    for number, cell in enumerate(sources, start=1):
        tags = tuple(str(tag) for tag in (cell.get("metadata") or {}).get("tags") or ())
        if SKIPPED in tags:
            dropped.append(f"cell {number}: tagged {SKIPPED}")
            continue
        made = _translated(_source(cell), f"{name} cell {number}")
        dropped += [f"cell {number}: {line}" for line in made.dropped]
        if made.text.strip():
            cells.append(Cell(0 if _INJECTED in tags else number, made.text, tags))
    if not cells:
        raise BundleError(f"{name} has no code to run", hint="; ".join(dropped))
    return Program(name, tuple(cells), tuple(dropped))


def from_text(text: str, filename: str) -> Program | None:
    """The program of source text that came from a notebook, as its name tells; None where it did not.

    ``train.ipynb`` names a :attr:`Program.text`, ``train.ipynb cell 3`` the source of one cell as it stands there.

    Raises:
        BundleError: a cell has something that only a notebook can do.
    """
    if one := _ONE.match(filename):
        made = _translated(text, filename, alone=True)
        if not made.text.strip():
            raise BundleError(f"{filename} has no code to run", hint="; ".join(made.dropped))
        number = int(one["number"])
        dropped = tuple(f"cell {number}: {line}" for line in made.dropped)
        return Program(one["notebook"], (Cell(number, made.text),), dropped)
    if not filename.endswith(SUFFIX):
        return None
    cells: list[Cell] = []
    lines: list[str] = []
    for line in text.split("\n"):
        if mark := _MARK.match(line):
            _end(cells, lines)
            cells.append(Cell(int(mark["number"] or 0), "", tuple(json.loads(mark["tags"] or "[]"))))
            lines = []
        else:
            lines.append(line)
    _end(cells, lines)
    return Program(filename, tuple(cells))


def _end(cells: list[Cell], lines: Sequence[str]) -> None:
    """Give the last cell its lines; what stands before the first mark is a cell too."""
    text = "\n".join(lines).rstrip("\n")
    if cells:
        cells[-1] = replace(cells[-1], text=text)
    elif text:
        cells.append(Cell(1, text))


def notebook_of(main: str) -> str:
    """The notebook whose program has this name in a bundle; the name itself where it is no notebook's."""
    return main.removesuffix(".py") if main.endswith(f"{SUFFIX}.py") else main


def _mark(cell: Cell) -> str:
    return f"# %% {cell.title}{f' tags={json.dumps(list(cell.tags))}' if cell.tags else ''}"


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source") or ""
    text = "".join(source) if isinstance(source, list) else str(source)
    return text.replace("\r\n", "\n").rstrip("\n")


def _refuse_language(metadata: Mapping[str, Any], name: str) -> None:
    info, kernel = metadata.get("language_info") or {}, metadata.get("kernelspec") or {}
    language = str(info.get("name") or kernel.get("language") or "python")
    if language.lower() != "python":
        raise BundleError(f"{name} is a notebook of {language}; jobs run Python")


# ---------------------------------------------------------------------------------------------------------- one cell


@dataclass(frozen=True, slots=True)
class _Made:
    text: str
    dropped: tuple[str, ...] = ()


def _translated(source: str, where: str, *, alone: bool = False) -> _Made:
    """A cell as Python of as many lines; ``alone`` runs also the body of a cell that a magic of ours runs as a job."""
    lines = source.split("\n")
    place = next((number for number, line in enumerate(lines) if line.strip()), 0)
    first = lines[place].strip()
    if not (magic := _CELL_MAGIC.match(first)):
        return _plain(source, where)
    name, rest = magic["name"], magic["rest"].strip()
    body = "\n".join([*lines[:place], f"pass  # {first}", *lines[place + 1 :]])
    if name == "time" or (name == "capture" and not re.search(r"(^|\s)[^-\s]", rest)):
        made = _plain(body, where)
        return replace(made, dropped=(f"%%{name}", *made.dropped))
    if alone and name == "kf_train":
        return _plain(body, where)
    if _SHOWN_ONLY.fullmatch(name):
        return _Made("", (f"%%{name}",))
    if name in ("writefile", "file"):
        return _Made(_written(rest, "\n".join(lines[place + 1 :]), where))
    hint = _HINTS.get(name, _LEAVE_OUT)
    raise BundleError(f"{where}, line {place + 1}: %%{name} is something that only a notebook can do", hint=hint)


def _written(rest: str, body: str, where: str) -> str:
    words = rest.split()
    append = any(word in ("-a", "--append") for word in words)
    names = [word.strip("'\"") for word in words if not word.startswith("-")]
    if len(names) != 1 or _VARIABLE.search(names[0]):
        raise BundleError(f"{where}: %%writefile wants the name of one file, and has {rest!r}", hint=_LEAVE_OUT)
    text = body if body.endswith("\n") else f"{body}\n"
    mode = "a" if append else "w"
    return f"with open({names[0]!r}, {mode!r}, encoding='utf-8') as _file:\n    _ = _file.write({text!r})"


def _plain(text: str, where: str) -> _Made:
    """Cells without a magic of their own: each logical line is Python, or one of the lines below."""
    made: list[str] = []
    dropped: list[str] = []
    number = 1
    for line in _logical_lines(text):
        bare = line.rstrip("\n")
        try:
            python = _line(bare)
        except BundleError as error:
            raise BundleError(f"{where}, line {number}: {error.message}", hint=error.hint) from None
        if python is None:
            dropped.append(bare.strip())
            indent = bare[: len(bare) - len(bare.lstrip())]
            python = f"{indent}pass  # {bare.strip()}".replace("\n", "\n# ")
        made.append(python + line[len(bare) :])
        number += line.count("\n")
    return _Made("".join(made), tuple(dropped))


def _logical_lines(text: str) -> Iterator[str]:
    """Whole statements' lines as Python joins them; a line that only a notebook understands is one by itself."""
    at = 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        line = text[at:end]
        if _MAGIC.match(line) or _SHELL.match(line) or _ASSIGNED.match(line) or _HELP.match(line):
            while line.rstrip("\n").endswith("\\") and end < len(text):
                end = text.find("\n", end) + 1 or len(text)
                line = text[at:end]
        else:
            end = _statement_end(text, at)
        yield text[at:end]
        at = end


def _statement_end(text: str, at: int) -> int:
    depth = 0
    for piece in _PIECE.finditer(text, at):
        match piece[0]:
            case "(" | "[" | "{":
                depth += 1
            case ")" | "]" | "}":
                depth = max(depth - 1, 0)
            case "\n" if not depth:
                return piece.end()
    return len(text)


def _line(line: str) -> str | None:
    """The Python of a logical line; None where a job does without it.

    Raises:
        BundleError: only a notebook can do that.
    """
    if _HELP.match(line):
        return None
    if magic := _MAGIC.match(line):
        return _magic(magic["indent"], magic["name"], magic["rest"].strip())
    if timed := _TIMED.match(line):
        return f"{timed['target']}{timed['rest']}  # %time"
    for pattern in (_SHELL, _ASSIGNED):
        if found := pattern.match(line):
            word = (found["rest"].split() or [""])[0]
            kind = "a magic" if found.groupdict().get("sign") == "%" else "a shell line"
            hint = _HINTS.get(word, f"use subprocess.run([...]) in the code, or {_LEAVE_OUT}")
            raise BundleError(f"{line.strip()!r} is {kind}, which only a notebook understands", hint=hint)
    return line


def _magic(indent: str, name: str, rest: str) -> str | None:
    if _WITHOUT.fullmatch(name):
        return None
    if name == "time":
        return f"{indent}{rest}  # %time" if rest else None
    if name in ("env", "set_env") and not _VARIABLE.search(rest):
        variable, _, value = rest.partition("=") if "=" in rest else rest.partition(" ")
        if not value.strip():
            return None
        return f"{indent}__import__('os').environ[{variable.strip()!r}] = {value.strip()!r}  # %{name}"
    hint = _HINTS.get(name, _LEAVE_OUT)
    raise BundleError(f"%{name} is a magic, which only a notebook understands", hint=hint)
