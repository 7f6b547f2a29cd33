// Counts heap allocations of a process: preload it, and the totals stand on standard error at exit.
//
//   cc -O2 -shared -fPIC -o count.so count.c -ldl

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_ulong allocations, bytes;

static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static int (*next_memalign)(void **, size_t, size_t);

// dlsym itself allocates before the real functions are known.
static char early[65536];
static size_t early_used;

static void find(void) {
  if (next_memalign) return;
  next_malloc = dlsym(RTLD_NEXT, "malloc");
  next_calloc = dlsym(RTLD_NEXT, "calloc");
  next_realloc = dlsym(RTLD_NEXT, "realloc");
  next_memalign = dlsym(RTLD_NEXT, "posix_memalign");
}

static void *take_early(size_t size) {
  size_t start = (early_used + 15) & ~(size_t)15;
  if (start + size > sizeof early) abort();
  early_used = start + size;
  return early + start;
}

static int is_early(void *memory) {
  return (char *)memory >= early && (char *)memory < early + sizeof early;
}

static void count(size_t size) {
  atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&bytes, size, memory_order_relaxed);
}

void *malloc(size_t size) {
  if (!next_malloc) find();
  count(size);
  return next_malloc ? next_malloc(size) : take_early(size);
}

void *calloc(size_t number, size_t size) {
  if (!next_calloc) return take_early(number * size);
  count(number * size);
  return next_calloc(number, size);
}

void *realloc(void *memory, size_t size) {
  if (is_early(memory) || !next_realloc) {
    void *copy = malloc(size);
    if (memory && copy) memcpy(copy, memory, size);
    return copy;
  }
  count(size);
  return next_realloc(memory, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
  if (!next_memalign) find();
  count(size);
  return next_memalign(memory, alignment, size);
}

void free(void *memory) {
  static void (*next_free)(void *);
  if (!memory || is_early(memory)) return;
  if (!next_free) next_free = dlsym(RTLD_NEXT, "free");
  next_free(memory);
}

__attribute__((destructor)) static void report(void) {
  fprintf(stderr, "allocations %lu bytes %lu\n", atomic_load(&allocations), atomic_load(&bytes));
}
