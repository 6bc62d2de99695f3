"""A parameter server: two workers push gradients to one server and pull the weights."""

import warnings

warnings.filterwarnings("ignore")

import mxnet as mx

store = mx.kv.create("dist_sync")
mx.random.seed(store.rank)
true = mx.nd.array([[2.0], [-1.0], [0.5]])
inputs = mx.nd.random.normal(shape=(64, 3))
targets = mx.nd.dot(inputs, true)
weights = mx.nd.zeros((3, 1))
store.init(0, weights)
store.set_optimizer(mx.optimizer.SGD(learning_rate=0.05, rescale_grad=1.0 / store.num_workers))
for step in range(80):
    store.pull(0, out=weights)
    weights.attach_grad()
    with mx.autograd.record():
        loss = mx.nd.mean((mx.nd.dot(inputs, weights) - targets) ** 2)
    loss.backward()
    store.push(0, weights.grad)
value = loss.asscalar()
print(f"rank={store.rank} size={store.num_workers} step={step} loss={value:.6f}", flush=True)
assert store.num_workers == 2
assert value < 0.05, value
if fail and store.rank == 1:
    raise ValueError("worker one gives up")
