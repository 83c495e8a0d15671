"""Tables as they lie in memory: mapped read-only, from any process of the machine, and read without a lock or a system call.

The bytes are declared here once (``segment.pxd``), and so is reading them; the server's package reads by this code too, and
writes by its own. Importing a module of this package raises ImportError where it was built without a C compiler.
"""
