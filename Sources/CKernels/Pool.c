#include "CKernels.h"
#include "Counts.h"
#include "Vectors.h"

INLINED floats largest(floats one, floats other) {
  integers isLarger = one > other;
  return (floats)((isLarger & (integers)one) | (~isLarger & (integers)other));
}

enum { WIDEST = 4 };

/// The numbers of some windows, each for as many channels as a vector has: the first window begins
/// at a column and a channel, the others at equal distances. Several go along because each number
/// waits for the one before; only a single one may reach beyond the picture or have fewer channels.
INLINED void combine(
    const kernels_pool *pool, int64_t left, int64_t channel, int64_t distance, floats *found,
    int vectors, int64_t count, int is_half, int averages) {
  int64_t top = pool->top < 0 ? 0 : pool->top, first = left < 0 ? 0 : left;
  int64_t bottom = smaller(pool->top + pool->window_height, pool->height);
  int64_t last = smaller(left + pool->window_width, pool->width);
  floats so_far[WIDEST];
#pragma clang loop unroll(full)
  for (int vector = 0; vector < vectors; vector++)
    so_far[vector] = averages ? (floats){0} : (floats){0} - __builtin_inff();
  for (int64_t row = top; row < bottom; row++)
    for (int64_t column = first; column < last; column++) {
      int64_t index = (row * pool->width + column) * pool->channels + channel;
#pragma clang loop unroll(full)
      for (int vector = 0; vector < vectors; vector++) {
        floats next = count == LANES
                          ? load(pool->source, index + vector * distance, is_half)
                          : load_some(pool->source, index + vector * distance, is_half, count);
        so_far[vector] = averages ? so_far[vector] + next : largest(next, so_far[vector]);
      }
    }
  float there = (float)((bottom - top) * (last - first));
#pragma clang loop unroll(full)
  for (int vector = 0; vector < vectors; vector++)
    found[vector] = averages ? so_far[vector] / there : so_far[vector];
}

/// All channels of a window.
INLINED void pool_pixel(const kernels_pool *pool, int64_t column, int is_half, int averages) {
  int64_t left = pool->left + column * pool->step, start = column * pool->channels, channel = 0;
  floats found[WIDEST];
  for (; channel + WIDEST * LANES <= pool->channels; channel += WIDEST * LANES) {
    combine(pool, left, channel, LANES, found, WIDEST, LANES, is_half, averages);
    for (int vector = 0; vector < WIDEST; vector++)
      store(found[vector], pool->target, start + channel + vector * LANES, is_half, 0);
  }
  for (; channel + LANES <= pool->channels; channel += LANES) {
    combine(pool, left, channel, LANES, found, 1, LANES, is_half, averages);
    store(found[0], pool->target, start + channel, is_half, 0);
  }
  int64_t rest = pool->channels - channel;
  if (rest == 0) return;
  combine(pool, left, channel, LANES, found, 1, rest, is_half, averages);
  store_some(found[0], pool->target, start + channel, is_half, rest);
}

INLINED void pool_row(const kernels_pool *pool, int is_half, int averages) {
  int64_t column = 0, reach = (WIDEST - 1) * pool->step + pool->window_width;
  while (column < pool->columns) {
    int64_t left = pool->left + column * pool->step;
    bool is_inside = left >= 0 && left + reach <= pool->width;
    if (pool->channels != LANES || !is_inside || column + WIDEST > pool->columns) {
      pool_pixel(pool, column++, is_half, averages);
      continue;
    }
    floats found[WIDEST];
    combine(pool, left, 0, pool->step * LANES, found, WIDEST, LANES, is_half, averages);
    for (int vector = 0; vector < WIDEST; vector++, column++)
      store(found[vector], pool->target, column * LANES, is_half, 0);
  }
}

INLINED void pool_either(const kernels_pool *pool) {
  if (pool->is_half && pool->averages) pool_row(pool, 1, 1);
  else if (pool->is_half) pool_row(pool, 1, 0);
  else if (pool->averages) pool_row(pool, 0, 1);
  else pool_row(pool, 0, 0);
}

WIDE static void wide_pool(const kernels_pool *pool) { pool_either(pool); }

NARROW static void narrow_pool(const kernels_pool *pool) { pool_either(pool); }

void kernels_pool_row(const kernels_pool *pool, bool wide) {
  if (wide) wide_pool(pool);
  else narrow_pool(pool);
}
