"""Executes a notebook without a browser and prints what a person would see, cell by cell as it happens.

The exit status is 0 only if every cell did what it says: no cell failed but those tagged ``raises-exception``, and each
of those did fail, by a failed job and not by a mistake of the notebook. Runs in a copy, so that the checkout stays
clean, and on the embedded cluster unless a kubeconfig or ``KF_CONTEXT`` says otherwise: a demonstration must not meet
production by chance.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

EXPECTED = "JobFailedError"
MOST_LINES = 12
MOST_OUTPUT = 60
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Teller:
    """Prints cells and what they answered."""

    def __init__(self, *, color: bool) -> None:
        self.color = color
        self.wrong: list[str] = []

    def paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text

    def say(self, text: str = "") -> None:
        print(text if self.color else ANSI.sub("", text), flush=True)

    def markdown(self, source: str) -> None:
        for line in source.splitlines():
            if line.startswith("#"):
                self.say(f"\n{self.paint('1;36', line.lstrip('# '))}\n")
                return
        self.say(f"\n{source.splitlines()[0]} ...")

    def source(self, number: int, source: str) -> None:
        lines = source.splitlines()
        kept = (
            lines
            if len(lines) <= MOST_LINES
            else [*lines[: MOST_LINES - 2], f"... {len(lines) - MOST_LINES + 2} more lines"]
        )
        for place, line in enumerate(kept):
            head = f"[{number}]" if place == 0 else ""
            self.say(f"{self.paint('2', head.rjust(5))} {self.paint('2', '|')} {line}")

    def outputs(self, cell: Any) -> None:
        for output in cell.outputs:
            text = self.words(output)
            lines = text.rstrip().splitlines()
            if len(lines) > MOST_OUTPUT:
                lines = [*lines[:MOST_OUTPUT], f"... {len(lines) - MOST_OUTPUT} more lines"]
            for line in lines:
                self.say(f"        {line}")

    def words(self, output: Any) -> str:
        if output.output_type == "stream":
            return str(output.text)
        if output.output_type == "error":
            return "\n".join(output.traceback)
        data = output.data
        if "image/png" in data:
            return "[a picture]"
        return str(data.get("text/plain", ""))

    def judge(self, number: int, cell: Any) -> None:
        """Whether the cell did what it says."""
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if "raises-exception" in cell.metadata.get("tags", []):
            if not errors:
                self.wrong.append(f"cell [{number}] should have failed, and did not")
            elif errors[0].ename != EXPECTED:
                self.wrong.append(f"cell [{number}] failed with {errors[0].ename} and not with {EXPECTED}")
        elif errors:
            self.wrong.append(f"cell [{number}] failed with {errors[0].ename}: {errors[0].evalue}")


def run(path: Path, teller: Teller, *, timeout: int, save: Path | None) -> int:
    """Execute the notebook; the exit status."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    with tempfile.TemporaryDirectory(prefix="kf-demo-") as folder:
        shutil.copytree(path.parent, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("results*", ".*"))
        client = NotebookClient(
            notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        done = 0
        begin = time.monotonic()
        try:
            with client.setup_kernel():
                for index, cell in enumerate(notebook.cells):
                    if cell.cell_type == "markdown":
                        teller.markdown(cell.source)
                        continue
                    done += 1
                    teller.source(done, cell.source)
                    client.execute_cell(cell, index)
                    teller.outputs(cell)
                    teller.judge(done, cell)
        except CellExecutionError:
            teller.outputs(notebook.cells[index])
            teller.judge(done, notebook.cells[index])
    if save:
        nbformat.write(notebook, save)  # type: ignore[no-untyped-call]
    teller.say()
    for line in teller.wrong:
        teller.say(teller.paint("1;31", line))
    took = time.monotonic() - begin
    good = not teller.wrong and done == total
    teller.say(
        teller.paint(
            "1;32" if good else "1;31", f"{done} of {total} cells in {took:.0f} s: {'ok' if good else 'FAILED'}"
        )
    )
    return 0 if good else 1


def choose(kubeconfig: Path | None) -> None:
    """Put the cluster into the environment that the notebook's kernel inherits."""
    if kubeconfig is None:
        os.environ.setdefault("KF_CONTEXT", "embedded")
        return
    if not kubeconfig.is_file():
        raise SystemExit(f"there is no kubeconfig {kubeconfig}")
    os.environ["KUBECONFIG"] = str(kubeconfig.resolve())
    if not os.environ.get("KF_CONTEXT"):
        context = yaml.safe_load(kubeconfig.read_text()).get("current-context")
        if not context:
            raise SystemExit(f"{kubeconfig} has no current context: choose one with KF_CONTEXT=NAME")
        os.environ["KF_CONTEXT"] = context


def main(words: list[str] | None = None) -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--save", type=Path, help="write the executed notebook here")
    parser.add_argument("--timeout", type=int, default=1200, help="seconds for one cell")
    parser.add_argument("--kubeconfig", type=Path, help="run on the cluster of this file's current context")
    options = parser.parse_args(words)
    choose(options.kubeconfig)
    return run(options.notebook, Teller(color=sys.stdout.isatty()), timeout=options.timeout, save=options.save)


if __name__ == "__main__":
    sys.exit(main())
