"""A disk that is full: no file of this process may grow beyond a size (what `ulimit -f` sets)."""

import contextlib
import resource


@contextlib.contextmanager
def files_end_at(size: int):
    """Within the block, writing behind byte `size` of any file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
