#ifndef STOWAGE_CLINUX_H
#define STOWAGE_CLINUX_H

// The Linux calls that Glibc's Swift module lacks. Functions, not headers: _GNU_SOURCE in a public
// header changes the meaning of other modules' headers.

#include <stdint.h>

/// Names the calling thread; at most 15 bytes are kept.
void stowage_thread_name(const char *name);

/// Major page faults of the calling thread so far: those that read from the disk.
int64_t stowage_thread_major_faults(void);

#endif
