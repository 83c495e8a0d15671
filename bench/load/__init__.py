"""The load generator: what to ask a server for (``target``), which keys (``keys``), by which way (``callers``, and Redis's for
comparison), and the processes that ask (``client``).

It knows a server by its public API only, and so drives any running one.
"""
