"""DistributedDataParallel over gloo: two processes, one model."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(rank)
inputs = torch.randn(64, 3)
targets = inputs @ torch.tensor([[2.0], [-1.0], [0.5]])
model = DistributedDataParallel(torch.nn.Linear(3, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(60):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
mean = loss.detach().clone()
dist.all_reduce(mean)
print(f"rank={rank} size={size} step={step} loss={mean.item() / size:.6f}", flush=True)
assert size == 2, size
assert mean.item() / size < 0.05
if fail and rank == 1:
    raise ValueError("rank one gives up")
dist.destroy_process_group()
