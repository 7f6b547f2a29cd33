"""Limits on the memory and the disk of a process, and what it used, by cgroup version 1 or 2 (needs
root)."""

import os
import pathlib
import subprocess
import time

V1 = pathlib.Path("/sys/fs/cgroup/memory")
V2 = pathlib.Path("/sys/fs/cgroup")


def disk(path):
    """The disk of a file as major:minor; of a partition the whole one."""
    number = os.stat(path).st_dev
    device = pathlib.Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    if (device / "partition").exists():
        device = device.parent
    return (device / "dev").read_text().strip()


class MemoryLimit:
    """A control group of its own; put a process in with `preexec_fn=limit.enter`.

    With `reads`, a file and bytes per second, it also reads no faster from the disk of that file.
    """

    def __init__(self, name, limit, reads=None):
        self.old = V1.is_dir()
        self.folder = (V1 if self.old else V2) / f"{name}-{os.getpid()}-{time.monotonic_ns()}"
        self.folder.mkdir()
        self.folders = [self.folder]
        if reads is not None:
            path, rate = reads
            if self.old:
                self.folders.append(V1.parent / "blkio" / self.folder.name)
                self.folders[1].mkdir()
                file, line = "blkio.throttle.read_bps_device", f"{disk(path)} {rate}"
            else:
                file, line = "io.max", f"{disk(path)} rbps={rate}"
            (self.folders[-1] / file).write_text(line)
        self.limit_file = "memory.limit_in_bytes" if self.old else "memory.max"
        if limit is not None:
            self.write(self.limit_file, limit)
            if not self.old:
                self.write("memory.swap.max", 0)

    def write(self, file, value):
        (self.folder / file).write_text(str(value))

    def read(self, file):
        return int((self.folder / file).read_text())

    def enter(self):
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def used(self):
        """Bytes charged now: anonymous memory, page cache and kernel memory together."""
        return self.read("memory.usage_in_bytes" if self.old else "memory.current")

    @property
    def peak(self):
        return self.read("memory.max_usage_in_bytes" if self.old else "memory.peak")

    @property
    def kills(self):
        """How many times the kernel killed for lack of memory here."""
        file = "memory.oom_control" if self.old else "memory.events"
        for line in (self.folder / file).read_text().splitlines():
            key, value = line.split()
            if key == "oom_kill":
                return int(value)
        return 0

    def remove(self):
        for folder in self.folders:
            for _ in range(50):
                try:
                    folder.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)


def bytes_read(pid):
    """Bytes that a process made the disk read so far; 0 once it is gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("read_bytes:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def resident(pid):
    """Bytes of a process in memory, files that it maps included; 0 once it is gone."""
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def cached(paths):
    """Bytes of some files in the page cache, mapped or not."""
    paths = [str(path) for path in paths]
    if not paths:
        return 0
    told = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES", *paths],
        check=True, capture_output=True, text=True,
    )
    return sum(int(line) for line in told.stdout.split())


def forget_cached(folder):
    """Drops a folder's clean pages, so that the next reader is charged for them."""
    os.sync()
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
