"""The API server: HTTP at the edge (`server`, `exchange`, `requests`), pure knowledge of the API machinery below it.

A request is parsed, becomes one call of the registry, and its answer is written as the client asked for it. Rules of
objects are the registry's; what a kind looks like (schemas, defaults, validation, columns) is data and pure functions
here.
"""
