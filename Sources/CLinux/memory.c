#define _GNU_SOURCE
#include "CLinux.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int stowage_reopen_direct(int fd) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
}

int stowage_move_pages(void *from, void *to, size_t bytes) {
  // The old addresses stay mapped: nothing else may settle there in between.
  void *moved =
      mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
  return moved == MAP_FAILED ? -1 : 0;
}

void stowage_return_freed_memory(void) { malloc_trim(0); }

void stowage_keep_heaps_small(void) {
  // A fixed threshold: glibc would raise it to 32 MiB, and bodies of requests would then leave
  // holes in heaps that never shrink.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 8 << 20);
  mallopt(M_ARENA_MAX, 4);
}

int64_t stowage_resident_bytes(void) {
  FILE *file = fopen("/proc/self/statm", "re");
  if (!file) return 0;
  long all = 0, resident = 0;
  int count = fscanf(file, "%ld %ld", &all, &resident);
  fclose(file);
  return count == 2 ? (int64_t)resident * sysconf(_SC_PAGESIZE) : 0;
}
