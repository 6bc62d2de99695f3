"""Ray Tune's trials a minute with a no-op, two at a time; run by an interpreter that has it: ``studies_ray.py N``."""

from __future__ import annotations

import sys
import time


def main(trials: int) -> None:
    """One uncounted trial, then as many as asked for."""
    import ray
    from ray import tune

    def nothing(config: dict[str, float]) -> dict[str, float]:
        return {"loss": config["x"]}

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    for count in (1, trials):
        begin = time.monotonic()
        settings = tune.TuneConfig(num_samples=count, max_concurrent_trials=2, metric="loss", mode="min")
        tune.Tuner(nothing, param_space={"x": tune.uniform(0, 1)}, tune_config=settings).fit()
        took = time.monotonic() - begin
    print(trials / took * 60)


if __name__ == "__main__":
    main(int(sys.argv[1]))
