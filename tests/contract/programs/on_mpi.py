"""Linear regression by data-parallel gradient descent: each rank holds its share, gradients are averaged."""

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
rng = np.random.default_rng(comm.rank)
true = np.array([2.0, -1.0, 0.5])
inputs = rng.normal(size=(64, 3))
targets = inputs @ true
weights = np.zeros(3)
for step in range(50):
    gradient = 2 * inputs.T @ (inputs @ weights - targets) / len(inputs)
    average = np.empty_like(gradient)
    comm.Allreduce(gradient, average)
    weights -= 0.1 * average / comm.size
loss = comm.allreduce(float(np.mean((inputs @ weights - targets) ** 2))) / comm.size
print(f"rank={comm.rank} size={comm.size} step={step} loss={loss:.6f}", flush=True)
assert comm.size == 2, comm.size
assert loss < 0.05, loss
if fail and comm.rank == 1:
    raise ValueError("rank one gives up")
