#define _GNU_SOURCE
#include "CLinux.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

int stowage_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static int control(int epoll, int operation, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event;
  memset(&event, 0, sizeof event);
  event.events = ((events & STOWAGE_READABLE) ? EPOLLIN : 0) |
                 ((events & STOWAGE_WRITABLE) ? EPOLLOUT : 0) |
                 ((events & STOWAGE_SHARED) ? EPOLLEXCLUSIVE : 0) |
                 ((events & STOWAGE_ENDED) ? EPOLLRDHUP : 0);
  event.data.u64 = data;
  return epoll_ctl(epoll, operation, fd, &event);
}

int stowage_epoll_add(int epoll, int fd, uint32_t events, uint64_t data) {
  return control(epoll, EPOLL_CTL_ADD, fd, events, data);
}

int stowage_epoll_change(int epoll, int fd, uint32_t events, uint64_t data) {
  return control(epoll, EPOLL_CTL_MOD, fd, events, data);
}

int stowage_epoll_remove(int epoll, int fd) { return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); }

int stowage_epoll_wait(int epoll, stowage_event *events, int count, int milliseconds) {
  struct epoll_event raw[128];
  int room = count < 128 ? count : 128;
  int found = epoll_wait(epoll, raw, room, milliseconds);
  for (int i = 0; i < found; i++) {
    events[i].data = raw[i].data.u64;
    events[i].events = ((raw[i].events & EPOLLIN) ? STOWAGE_READABLE : 0) |
                       ((raw[i].events & EPOLLOUT) ? STOWAGE_WRITABLE : 0) |
                       ((raw[i].events & EPOLLRDHUP) ? STOWAGE_ENDED : 0) |
                       ((raw[i].events & (EPOLLHUP | EPOLLERR)) ? STOWAGE_BROKEN : 0);
  }
  return found;
}

int stowage_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

int stowage_accept(int fd) { return accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }
