"""A disk that fails when a test says so: a small library in front of libc's writes and syncs, for one process.

In charge of: building the library with gcc, and saying which calls fail now. Not in charge of: the process; it is
started with `environ`. Only files whose path begins with a prefix are concerned, so that a center's log goes on.

The library reads one octet of a shared file at each call: nothing is sent, nothing is restarted.
"""

from __future__ import annotations

import subprocess
from enum import Enum
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile const char *order;
static const char *prefix;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("FAILING_DISK_ORDER"), O_RDONLY);
    prefix = getenv("FAILING_DISK_PREFIX");
    order = mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (order == MAP_FAILED || prefix == NULL) abort();
}

static int ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static int fails(int fd, int sync) {
    char now = *order;
    if (now == 'h' && sync && ours(fd)) {
        while (*order == 'h') usleep(1000);
        return 0;
    }
    if (now == 'h' || (now == 's' ? !sync : sync)) return 0;
    if (now == '-' || !ours(fd)) return 0;
    errno = now == 'n' ? ENOSPC : EIO;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    return fails(fd, 0) ? -1 : real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    return fails(fd, 0) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    return fails(fd, 0) ? -1 : real(fd, data, size, at);
}

int fsync(int fd) {
    REAL(fsync);
    return fails(fd, 1) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return fails(fd, 1) ? -1 : real(fd);
}
"""


class Fault(Enum):
    """What the disk does; the octet is what the library reads."""

    NONE = b"-"
    SYNC_FAILS = b"s"  #: fsync and fdatasync answer EIO, after the octets were taken
    WRITE_FAILS = b"w"  #: EIO
    NO_SPACE = b"n"  #: ENOSPC
    SYNC_HANGS = b"h"  #: fsync and fdatasync answer only when the disk is well again


class FailingDisk:
    """The library, and its orders."""

    def __init__(self, folder: Path, prefix: Path) -> None:
        """`prefix`: the beginning of the paths of the files that may fail."""
        folder.mkdir()
        source, self._library, self._order = (
            folder / name for name in ("failing_disk.c", "failing_disk.so", "order")
        )
        source.write_text(_SOURCE)
        self._order.write_bytes(Fault.NONE.value)
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(source), "-ldl"]
        built = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert built.returncode == 0, built.stderr
        self.prefix = prefix

    @property
    def environ(self) -> dict[str, str]:
        """What the process must be started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAILING_DISK_ORDER": str(self._order),
            "FAILING_DISK_PREFIX": str(self.prefix),
        }

    def be(self, fault: Fault) -> None:
        """From the next call on."""
        with self._order.open("r+b") as order:
            order.write(fault.value)
