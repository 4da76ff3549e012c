"""A federation on one machine, for ``simulate`` and ``demo``: a real portal, real HTTP and real agents on scratch data."""
