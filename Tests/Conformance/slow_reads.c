// A slow disk: preloaded, it lets a process read no more than $SLOW_READS_PER_SECOND bytes a second.
//
// Reads of many threads wait for each other, as they would for one disk.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;

static void take(ssize_t bytes) {
  const char *rate = getenv("SLOW_READS_PER_SECOND");
  if (bytes <= 0 || rate == NULL) return;
  double seconds = (double)bytes / atof(rate);
  struct timespec rest = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
  pthread_mutex_lock(&disk);
  nanosleep(&rest, NULL);
  pthread_mutex_unlock(&disk);
}

ssize_t pread(int descriptor, void *buffer, size_t count, off_t offset) {
  ssize_t (*next)(int, void *, size_t, off_t) =
      (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
  ssize_t found = next(descriptor, buffer, count, offset);
  take(found);
  return found;
}

ssize_t pread64(int descriptor, void *buffer, size_t count, off_t offset) {
  return pread(descriptor, buffer, count, offset);
}
