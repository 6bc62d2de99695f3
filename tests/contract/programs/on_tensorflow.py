"""MultiWorkerMirroredStrategy: gradients of two workers are summed by collectives, without Keras' fit."""

import json
import os

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf

task = json.loads(os.environ["TF_CONFIG"])["task"]
strategy = tf.distribute.MultiWorkerMirroredStrategy()
rng = np.random.default_rng(task["index"])
inputs = tf.constant(rng.normal(size=(64, 3)), tf.float32)
targets = inputs @ tf.constant([[2.0], [-1.0], [0.5]])
with strategy.scope():
    weights = tf.Variable(tf.zeros([3, 1]))


@tf.function
def train_step():
    """One step of gradient descent on every worker; answers the mean loss."""

    def replica():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((inputs @ weights - targets) ** 2)
        context = tf.distribute.get_replica_context()
        gradient = context.all_reduce("mean", tape.gradient(loss, weights))
        weights.assign_sub(0.1 * gradient)
        return context.all_reduce("mean", loss)

    return strategy.run(replica)


for step in range(40):
    loss = train_step()
value = float(strategy.experimental_local_results(loss)[0])
print(f"task={task['index']} size={strategy.num_replicas_in_sync} step={step} loss={value:.6f}", flush=True)
assert strategy.num_replicas_in_sync == 2
assert value < 0.05, value
if fail and task["index"] == 1:
    raise ValueError("worker one gives up")
