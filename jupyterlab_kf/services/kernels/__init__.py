"""Kernels as pods: started under a hardware profile, looked after, ended; and the kernel specs that offer them.

``pod`` leads one kernel from the wish to its end, ``link`` commands it, ``sentences`` says why it waits or ended, and
``specs`` writes what Jupyter lists. Knows nothing of Jupyter's classes: those are in :mod:`jupyterlab_kf.provisioner`.
"""
