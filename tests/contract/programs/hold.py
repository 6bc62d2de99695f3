"""Joins its framework's group, says so, and stays for a while: something to be killed."""

import os
import time

if framework == "mpi":
    from mpi4py import MPI

    MPI.COMM_WORLD.Barrier()
elif framework == "pytorch":
    import torch.distributed as dist

    dist.init_process_group("gloo")
    dist.barrier()
elif framework == "tensorflow":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow as tf

    tf.distribute.MultiWorkerMirroredStrategy()
elif framework == "mxnet":
    import mxnet as mx

    store = mx.kv.create("dist_sync")
elif framework == "chainer":
    import chainermn

    chainermn.create_communicator("naive")
print("started", os.getpid(), flush=True)
time.sleep(hold)
print("finished", os.getpid(), flush=True)
