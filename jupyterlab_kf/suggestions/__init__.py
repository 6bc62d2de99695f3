"""What to try next: a study's parameters, settings and history in, new assignments out. Imports nothing of the rest.

One question, one answer, both plain JSON (:mod:`.questions`), so that a process of its own can do the work: numpy,
scipy, hyperopt and Optuna are imported by the algorithm that needs them, never at import time. An answer is decided by
the question alone (history, pending trials and seed), which makes a study exactly resumable.
"""
