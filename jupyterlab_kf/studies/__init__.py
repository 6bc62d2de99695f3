"""What Katib runs beside its controllers: the suggestion service and the metrics collector, for any manager's API.

They wait, start processes and read logs, which controllers must not.
"""
