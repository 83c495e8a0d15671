# Bytes that are made without content and resized while nobody else has them: by a pointer, since Cython's own declarations take objects.

from cpython.object cimport PyObject

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t size) except -1
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
