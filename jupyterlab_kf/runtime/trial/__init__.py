"""A folder for the module path of trials whose program pushes its metrics; only ``sitecustomize`` counts in it."""
