"""Train, tune and serve on Kubernetes, or on the machine at hand, without leaving the notebook."""
