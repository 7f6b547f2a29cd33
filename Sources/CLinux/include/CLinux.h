#ifndef STOWAGE_CLINUX_H
#define STOWAGE_CLINUX_H

// The Linux calls that Glibc's Swift module lacks. Functions, not headers: _GNU_SOURCE in a public
// header changes the meaning of other modules' headers.

#include <stddef.h>
#include <stdint.h>

/// Names the calling thread; at most 15 bytes are kept.
void stowage_thread_name(const char *name);

/// Major page faults of the calling thread so far: those that read from the disk.
int64_t stowage_thread_major_faults(void);

/// Bytes that the calling thread has had read from the disk so far, by reading or by faults.
int64_t stowage_thread_read_bytes(void);

/// Cores that the calling thread may run on.
int stowage_available_processors(void);

/// The same file once more, read past the page cache; -1 where its file system cannot.
int stowage_reopen_direct(int fd);

/// Whether this processor knows the instructions that kernels are compiled for.
int stowage_has_instructions(void);

/// Bytes of this process in memory.
int64_t stowage_resident_bytes(void);

/// Moves private memory to other mapped addresses, whose own memory is dropped; the old addresses
/// are empty then. -1 where the kernel cannot.
int stowage_move_pages(void *from, void *to, size_t bytes);

/// Has freed memory go back to the machine soon: large pieces at once, small ones from few heaps.
void stowage_keep_heaps_small(void);

/// Has the calling thread run when no other wants the processor.
void stowage_yield_to_others(void);

/// Gives memory that was freed back to the machine.
void stowage_return_freed_memory(void);

enum {
  STOWAGE_READABLE = 1,
  STOWAGE_WRITABLE = 2,
  /// Both directions are closed, or the connection was reset. Reported without being asked for.
  STOWAGE_BROKEN = 4,
  /// Only one of several waiting loops is woken.
  STOWAGE_SHARED = 8,
  /// The other side sends no more; there may still be bytes to read.
  STOWAGE_ENDED = 16
};

typedef struct {
  uint64_t data;
  uint32_t events;
} stowage_event;

/// Like epoll_create1, epoll_ctl and epoll_wait, with the flags above; -1 and errno on failure.
int stowage_epoll_create(void);
int stowage_epoll_add(int epoll, int fd, uint32_t events, uint64_t data);
int stowage_epoll_change(int epoll, int fd, uint32_t events, uint64_t data);
int stowage_epoll_remove(int epoll, int fd);
int stowage_epoll_wait(int epoll, stowage_event *events, int count, int milliseconds);

/// A non-blocking event counter.
int stowage_eventfd(void);

/// The next connection of a listening socket, non-blocking.
int stowage_accept(int fd);

#endif
