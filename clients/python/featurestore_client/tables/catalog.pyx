"""The catalog of a directory of tables: who owns it, whether he is alive, and a number that moves with its definitions.

One small mapped file beside the tables, written by the owner alone. A reader compares ``version`` before each read, so that what
it has resolved from the definitions is never older than the last change that was acknowledged; and it looks at the heartbeat, so
that it does not go on answering from the memory of a server that is gone.

Invariant: ``version`` rises after the definitions it stands for are in place, and before the change is acknowledged (a release
store, which pairs with the acquire of ``version``).
"""

import os

from featurestore_client.errors import FailedPreconditionError

from libc.stdint cimport uint64_t

from featurestore_client.tables.segment cimport (
    PAGE, SEGMENT_FORMAT, atomic_load_acquire_u64, atomic_store_release_u64, map_file,
)

cdef extern from "sys/mman.h" nogil:
    int munmap(void *addr, size_t length)

cdef extern from "time.h" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC_COARSE
    int clock_gettime(int clock, timespec *at)

cdef extern from *:
    uint64_t CATALOG_MAGIC "0x3154414345525446ULL"  # "FTRECAT1"

FILE_NAME = "catalog"


cdef uint64_t monotonic_us() noexcept nogil:
    # Coarse: it moves every few milliseconds, and costs next to nothing.
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
    return <uint64_t>now.tv_sec * 1_000_000 + <uint64_t>now.tv_nsec // 1_000


cdef class Catalog:
    """See the module. ``Catalog.create`` for the owner, ``Catalog.attach`` for readers."""

    @staticmethod
    def create(str directory, uint64_t instance, *, uint64_t read_rows_max, uint64_t read_bytes_max, uint64_t key_bytes_max):
        """The catalog of an owner that begins: in place of an earlier one's, whose readers find that it is closed."""
        cdef Catalog self = Catalog.__new__(Catalog)
        path = os.path.join(directory, FILE_NAME)
        try:
            Catalog.attach(directory, writable=True).close()
        except (FileNotFoundError, FailedPreconditionError):
            pass  # none, or one of a format that today's readers do not map
        beside = path + ".new"
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(fd, 0o644)  # whoever may enter the directory may read it
            os.write(fd, bytes(PAGE))
            self.header = <CatalogHeader *>map_file(fd, PAGE, True, path)
        finally:
            os.close(fd)
        self.header.magic = CATALOG_MAGIC
        self.header.format_version = SEGMENT_FORMAT
        self.header.instance = instance
        self.header.owner_pid = os.getpid()
        self.header.version = 1
        self.header.read_rows_max = read_rows_max
        self.header.read_bytes_max = read_bytes_max
        self.header.key_bytes_max = key_bytes_max
        self.beat()
        os.rename(beside, path)
        return self

    @staticmethod
    def attach(str directory, *, bint writable=False):
        """Maps the catalog of a directory. FileNotFoundError where there is none, FailedPreconditionError for another format."""
        cdef Catalog self = Catalog.__new__(Catalog)
        path = os.path.join(directory, FILE_NAME)
        fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size < PAGE:
                raise FailedPreconditionError(f"{path} is shorter than {PAGE} bytes: it is damaged")
            self.header = <CatalogHeader *>map_file(fd, PAGE, writable, path)
        finally:
            os.close(fd)
        if self.header.magic != CATALOG_MAGIC or self.header.format_version != SEGMENT_FORMAT:
            raise FailedPreconditionError(
                f"{path} has format {self.header.format_version}, this version reads {SEGMENT_FORMAT}: use the version that wrote it"
            )
        return self

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, PAGE)

    # ------------------------------------------------------------------------------------------------------------ the owner's

    def move(self):
        """Another version: what was resolved from the definitions is to be resolved again."""
        atomic_store_release_u64(&self.header.version, self.header.version + 1)

    def beat(self):
        """The owner is alive; to be said several times in OWNER_SILENCE_MAX_US."""
        atomic_store_release_u64(&self.header.heartbeat_us, monotonic_us())

    def close(self):
        """The owner gives the directory up: readers turn away at once."""
        atomic_store_release_u64(&self.header.closed, 1)

    # ------------------------------------------------------------------------------------------------------------ the readers'

    @property
    def version(self):
        """Moves with each change of the definitions, or of the tables that there are."""
        return atomic_load_acquire_u64(&self.header.version)

    @property
    def instance(self):
        """A random number of this owner's."""
        return self.header.instance

    @property
    def owner_pid(self):
        """The owner's process, in its own namespace of processes."""
        return self.header.owner_pid

    @property
    def closed(self):
        """Whether the owner gave the directory up, or another has taken it over."""
        return atomic_load_acquire_u64(&self.header.closed) != 0

    @property
    def silent_us(self):
        """Since the owner last said that it is alive, in microseconds."""
        heartbeat = atomic_load_acquire_u64(&self.header.heartbeat_us)
        now = monotonic_us()
        return now - heartbeat if now > heartbeat else 0

    @property
    def is_served(self):
        """Whether the owner is there and alive: what is read now is what a call to it would answer."""
        return is_served(self.header)

    @property
    def read_rows_max(self):
        """Rows of one read, as the owner limits them."""
        return self.header.read_rows_max

    @property
    def read_bytes_max(self):
        """Bytes of one answer, as the owner limits them."""
        return self.header.read_bytes_max

    @property
    def key_bytes_max(self):
        """Bytes of one key, as the owner limits them."""
        return self.header.key_bytes_max
