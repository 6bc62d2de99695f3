"""Run by the environment of Kubeflow's SDK 0.5: how long its local backend takes before a user's process could start.

A lower bound in its favour: it makes a virtual environment for every job; installing torch into it (gigabytes, each
time) is left out, so its torchrun is missing and the job ends there.
"""

import re
import sys
import time

from kubeflow.trainer import CustomTrainer, LocalProcessBackendConfig, TrainerClient


def train() -> None:
    """Never runs."""


client = TrainerClient(backend_config=LocalProcessBackendConfig())
name = client.train(runtime=client.get_runtime("torch-distributed"), trainer=CustomTrainer(func=train))
for _ in range(600):
    text = "\n".join(client.get_job_logs(name))
    if found := re.search(r"Completed with code \d+ in (\d+):(\d+):([\d.]+) seconds", text):
        hours, minutes, seconds = (float(part) for part in found.groups())
        print("seconds", hours * 3600 + minutes * 60 + seconds)
        sys.exit(0)
    time.sleep(0.1)
sys.exit(1)
