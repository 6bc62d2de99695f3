"""ChainerMN's multi-node optimizer over MPI: two ranks train one linear model."""

import warnings

warnings.filterwarnings("ignore")

import chainer
import chainer.functions as F
import chainer.links as L
import chainermn
import numpy as np

comm = chainermn.create_communicator("naive")
rng = np.random.RandomState(comm.rank)
inputs = rng.normal(size=(64, 3)).astype("f")
targets = inputs @ np.array([[2.0], [-1.0], [0.5]], "f")
model = L.Linear(3, 1)
optimizer = chainermn.create_multi_node_optimizer(chainer.optimizers.SGD(lr=0.1), comm)
optimizer.setup(model)
comm.bcast_data(model)
for step in range(60):
    loss = F.mean_squared_error(model(inputs), targets)
    model.cleargrads()
    loss.backward()
    optimizer.update()
value = float(loss.array)
print(f"rank={comm.rank} size={comm.size} step={step} loss={value:.6f}", flush=True)
assert comm.size == 2, comm.size
assert value < 0.05, value
if fail and comm.rank == 1:
    raise ValueError("rank one gives up")
