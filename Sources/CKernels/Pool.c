#include "CKernels.h"
#include "Vectors.h"

INLINED int64_t smaller(int64_t one, int64_t other) { return one < other ? one : other; }

INLINED floats larger(floats one, floats other) {
  integers isLarger = one > other;
  return (floats)((isLarger & (integers)one) | (~isLarger & (integers)other));
}

/// Sixteen channels of a window, or `count` of them.
INLINED floats largest(
    const kernels_pool *pool, int64_t left, int64_t channel, int64_t count, int is_half) {
  int64_t top = pool->top < 0 ? 0 : pool->top, first = left < 0 ? 0 : left;
  int64_t bottom = smaller(pool->top + pool->window_height, pool->height);
  int64_t last = smaller(left + pool->window_width, pool->width);
  floats found = (floats){0} - __builtin_inff();
  for (int64_t row = top; row < bottom; row++)
    for (int64_t column = first; column < last; column++) {
      int64_t index = (row * pool->width + column) * pool->channels + channel;
      floats next = count == LANES ? load(pool->source, index, is_half)
                                   : load_some(pool->source, index, is_half, count);
      found = larger(next, found);
    }
  return found;
}

INLINED void pool_row(const kernels_pool *pool, int is_half) {
  for (int64_t column = 0; column < pool->columns; column++) {
    int64_t left = pool->left + column * pool->step, start = column * pool->channels, channel = 0;
    for (; channel + LANES <= pool->channels; channel += LANES)
      store(
          largest(pool, left, channel, LANES, is_half), pool->target, start + channel, is_half, 0);
    int64_t rest = pool->channels - channel;
    if (rest > 0)
      store_some(
          largest(pool, left, channel, rest, is_half), pool->target, start + channel, is_half,
          rest);
  }
}

INLINED void pool_either(const kernels_pool *pool) {
  if (pool->is_half) pool_row(pool, 1);
  else pool_row(pool, 0);
}

WIDE static void wide_pool(const kernels_pool *pool) { pool_either(pool); }

NARROW static void narrow_pool(const kernels_pool *pool) { pool_either(pool); }

void kernels_pool_row(const kernels_pool *pool, int wide) {
  if (wide) wide_pool(pool);
  else narrow_pool(pool);
}
