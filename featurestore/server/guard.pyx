"""What a call has to pass before its handler begins: the API key, and the time that its caller gave it.

Compiled, because every call comes this way.
"""

cimport cython

from featurestore.server.context cimport CallContext


@cython.final
cdef class Guard:
    """Of one handler. ``api_keys`` has ApiKeys, or None where nobody needs one."""

    cdef object _handler, _api_keys

    def __init__(self, handler, api_keys):
        self._handler, self._api_keys = handler, api_keys

    cpdef int check(self, CallContext context) except -1:
        """UnauthenticatedError or DeadlineExceededError where the handler is not to be called."""
        if self._api_keys is not None:
            self._api_keys.check(context)
        if type(context) is not CallContext or context.deadline is not None:  # another kind works it out
            (<object>context).check_deadline()
        return 0

    def call(self, bytes data not None, CallContext context not None):
        """What a handler of one request comes to, after ``check``."""
        self.check(context)
        return self._handler(data, context)
