"""Writes down what a real Triton and a real MLServer answer to the table of cases: ``record_peers.py NAME PYTHON``.

NAME is ``triton`` or ``mlserver``, PYTHON that of an environment which has the server, made by
``pip install nvidia-pytriton`` (the wheel brings Triton itself) or ``pip install mlserver mlserver-sklearn``. Neither
is needed to play the records to our own server.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from peer_cases import GOLDEN, PEERS, ask, case
from unit_process import free_port, iris

CONFIG = """
name: "sums"
backend: "python"
input [{ name: "x" data_type: TYPE_FP32 dims: [-1, 2] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [-1, 2] }]
"""
PROGRAM = """
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        given = [triton.get_input_tensor_by_name(one, "x").as_numpy() for one in requests]
        return [triton.InferenceResponse([triton.Tensor("y", one + one)]) for one in given]
"""
"""The model of our own side's ONNX file, in Triton's words."""
SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def started(name: str, python: str, folder: Path, http: int, grpc: int) -> subprocess.Popen[bytes]:
    """The real server, which may not be ready yet."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if name == "triton":
        site = Path(subprocess.run([python, "-c", SITE], capture_output=True, text=True, check=True).stdout.strip())
        place, backends, models = site / "pytriton" / "tritonserver", folder / "backends", folder / "models"
        release = f"{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copytree(place / "backends", backends)
        shutil.copy(place / "python_backend_stubs" / release / "triton_python_backend_stub", backends / "python")
        (models / "sums" / "1").mkdir(parents=True)
        (models / "sums" / "config.pbtxt").write_text(CONFIG)
        (models / "sums" / "1" / "model.py").write_text(PROGRAM)
        ports = [f"--http-port={http}", f"--grpc-port={grpc}", "--allow-metrics=false"]
        folders = [f"--model-repository={models}", f"--backend-directory={backends}"]
        command = [str(place / "bin" / "tritonserver"), *folders, *ports]
        environment["PATH"] = f"{Path(python).parent}:{os.environ['PATH']}"
        environment["LD_LIBRARY_PATH"] = str(site / "nvidia_pytriton.libs")
        environment.pop("PYTHONPATH", None)
    else:
        iris(folder)
        told = {"http_port": http, "grpc_port": grpc, "metrics_port": free_port(), "parallel_workers": 0}
        (folder / "settings.json").write_text(json.dumps({**told, "debug": False}))
        model = {"name": "iris", "implementation": "mlserver_sklearn.SKLearnModel"}
        (folder / "model-settings.json").write_text(json.dumps({**model, "parameters": {"uri": "./model.joblib"}}))
        command = [str(Path(python).with_name("mlserver")), "start", "."]
    log = (folder / "log").open("wb")
    return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)


def main(name: str, python: str) -> None:
    """Play every case, and write the record."""
    asking = "import importlib.metadata as m; print(m.version('{}'))"
    package = {"triton": "nvidia-pytriton", "mlserver": "mlserver"}[name]
    version = subprocess.run([python, "-c", asking.format(package)], capture_output=True, text=True, check=True).stdout
    cases = PEERS[name]()
    model = {"triton": "sums", "mlserver": "iris"}[name]
    with tempfile.TemporaryDirectory() as made:
        folder, http, grpc = Path(made), free_port(), free_port()
        server = started(name, python, folder, http, grpc)
        try:
            for _ in range(600):
                try:
                    if ask(http, grpc, case(f"/v2/models/{model}/ready"))["code"] == 200:
                        break
                except OSError:
                    pass
                time.sleep(0.2)
            else:
                raise SystemExit((folder / "log").read_text())
            answers = {}
            for title, asked in cases.items():
                try:
                    answers[title] = ask(http, grpc, asked)
                except OSError as error:
                    answers[title] = {"dropped": type(error).__name__}
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    file = GOLDEN / f"{name}.json"
    file.write_text(json.dumps({"server": f"{package} {version.strip()}", "answers": answers}, indent=1) + "\n")
    print(f"{len(answers)} answers written to {file}")


if __name__ == "__main__":
    main(*sys.argv[1:])
