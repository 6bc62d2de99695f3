"""What a cell shows: pure renderers of frozen views to HTML, SVG and text, and the live display that updates in place.

Renderers here take values (``JobView``, rows, plans) and give strings: no client, no clock, no IPython. Only
:mod:`.display` and :mod:`.controls` know IPython, and import it on first use. Nothing here decides what a job does.
"""
