#define _GNU_SOURCE
#include "CLinux.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

void stowage_thread_name(const char *name) {
  char kept[16];
  strncpy(kept, name, sizeof kept - 1);
  kept[sizeof kept - 1] = '\0';
  pthread_setname_np(pthread_self(), kept);
}

void stowage_yield_to_others(void) {
  // In Linux a thread has a priority of its own; where this is forbidden it keeps that of others.
  setpriority(PRIO_PROCESS, 0, 19);
}

int64_t stowage_thread_major_faults(void) {
  struct rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_majflt : 0;
}

int64_t stowage_thread_read_bytes(void) {
  struct rusage usage;
  // The kernel counts blocks of 512 bytes, whatever the file system's are.
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_inblock * 512 : 0;
}

int stowage_available_processors(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}
