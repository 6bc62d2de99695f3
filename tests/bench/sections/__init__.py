"""What each section of the benchmarks does: a generator that yields rows as soon as they are measured."""
