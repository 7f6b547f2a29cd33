#include "CKernels.h"
#include "Vectors.h"

INLINED int64_t smaller(int64_t one, int64_t other) { return one < other ? one : other; }

INLINED floats larger(floats one, floats other) {
  integers isLarger = one > other;
  return (floats)((isLarger & (integers)one) | (~isLarger & (integers)other));
}

enum { WIDEST = 4 };

/// Some vectors of channels of a window, several at once because each number waits for the one
/// before; the last vector has `count` channels.
INLINED void largest(
    const kernels_pool *pool, int64_t left, int64_t channel, floats *found, int vectors,
    int64_t count, int is_half) {
  int64_t top = pool->top < 0 ? 0 : pool->top, first = left < 0 ? 0 : left;
  int64_t bottom = smaller(pool->top + pool->window_height, pool->height);
  int64_t last = smaller(left + pool->window_width, pool->width);
  floats so_far[WIDEST];
  for (int vector = 0; vector < vectors; vector++) so_far[vector] = (floats){0} - __builtin_inff();
  for (int64_t row = top; row < bottom; row++)
    for (int64_t column = first; column < last; column++) {
      int64_t index = (row * pool->width + column) * pool->channels + channel;
      for (int vector = 0; vector < vectors; vector++) {
        floats next = count == LANES
                          ? load(pool->source, index + vector * LANES, is_half)
                          : load_some(pool->source, index + vector * LANES, is_half, count);
        so_far[vector] = larger(next, so_far[vector]);
      }
    }
  for (int vector = 0; vector < vectors; vector++) found[vector] = so_far[vector];
}

INLINED void pool_row(const kernels_pool *pool, int is_half) {
  for (int64_t column = 0; column < pool->columns; column++) {
    int64_t left = pool->left + column * pool->step, start = column * pool->channels, channel = 0;
    floats found[WIDEST];
    for (; channel + WIDEST * LANES <= pool->channels; channel += WIDEST * LANES) {
      largest(pool, left, channel, found, WIDEST, LANES, is_half);
      for (int vector = 0; vector < WIDEST; vector++)
        store(found[vector], pool->target, start + channel + vector * LANES, is_half, 0);
    }
    for (; channel + LANES <= pool->channels; channel += LANES) {
      largest(pool, left, channel, found, 1, LANES, is_half);
      store(found[0], pool->target, start + channel, is_half, 0);
    }
    int64_t rest = pool->channels - channel;
    if (rest == 0) continue;
    largest(pool, left, channel, found, 1, rest, is_half);
    store_some(found[0], pool->target, start + channel, is_half, rest);
  }
}

INLINED void pool_either(const kernels_pool *pool) {
  if (pool->is_half) pool_row(pool, 1);
  else pool_row(pool, 0);
}

WIDE static void wide_pool(const kernels_pool *pool) { pool_either(pool); }

NARROW static void narrow_pool(const kernels_pool *pool) { pool_either(pool); }

void kernels_pool_row(const kernels_pool *pool, bool wide) {
  if (wide) wide_pool(pool);
  else narrow_pool(pool);
}
