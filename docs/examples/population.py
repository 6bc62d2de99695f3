"""A population: each trial trains for two epochs more, from its checkpoint, at a rate that suits what is learnt by now.

study = kf.tune("population.py", algorithm="pbt", settings={"n_population": 5}, trials=20,
                objective="accuracy", direction="maximize")
"""
# ruff: noqa: F821, INP001, S301, T201  loguniform is a word of studies, the checkpoint is our own, and the print is the metric

import os
import pickle
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

rate = loguniform(1e-5, 1e-1)
checkpoint = Path(os.environ["KF_CHECKPOINT"]) / "model.pkl"

x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(x / 16, y, test_size=0.25, random_state=0)
if checkpoint.exists():
    model, epochs = pickle.loads(checkpoint.read_bytes())
else:
    model, epochs = SGDClassifier(learning_rate="constant", random_state=0), 0
model.set_params(eta0=rate)
for _ in range(2):
    model.partial_fit(x, y, classes=range(10))
    epochs += 1
checkpoint.write_bytes(pickle.dumps((model, epochs)))
print(f"epochs={epochs} accuracy={model.score(x_test, y_test):.4f}")
