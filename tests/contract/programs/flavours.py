"""Makes a model with a library of this interpreter, serves it in process, and compares: ``flavours.py KIND FOLDER``."""

import sys
from pathlib import Path

import numpy as np

from jupyterlab_kf.runtime.serving import loading
from jupyterlab_kf.runtime.serving.messages import Message, Refusal

X = np.random.default_rng(1).uniform(-1, 1, (40, 3))


def torchscript(folder):
    import torch

    model = torch.nn.Linear(3, 2)
    torch.jit.trace(model, torch.zeros(1, 3)).save(str(folder / "model.pt"))
    return model(torch.tensor(X, dtype=torch.float32)).detach().numpy()


def exported(folder):
    import torch

    model = torch.nn.Linear(3, 2)
    shapes = {"input": {0: torch.export.Dim("rows")}}
    torch.export.save(torch.export.export(model, (torch.zeros(4, 3),), dynamic_shapes=shapes), folder / "model.pt2")
    return model(torch.tensor(X, dtype=torch.float32)).detach().numpy()


def tensorflow(folder):
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def __call__(self, x):
            return {"y": tf.reduce_sum(x, axis=1)}

    tf.saved_model.save(Model(), str(folder / "1"))
    return X.astype(np.float32).sum(axis=1)


def keras(folder):
    import tensorflow as tf

    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
    model.save(folder / "model.keras")
    return model(X.astype(np.float32)).numpy()


def main(kind, folder):
    expected = globals()[kind](folder)
    unit = loading.from_model(str(folder), name="m")
    unit.load()
    print(unit.signature, flush=True)
    for answer in (unit.predict(Message(X, "ndarray")).data, *unit.infer({"x": X}).values()):
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)
    for wrong in (np.zeros((2, 7)), np.array([["a", "b", "c"]])):
        code = 200
        try:
            unit.predict(Message(wrong, "ndarray"))
        except Refusal as refusal:
            code = refusal.code
        assert code == 400, wrong
    print("served", kind)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
