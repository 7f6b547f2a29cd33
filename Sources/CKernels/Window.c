#include <string.h>

#include "CKernels.h"
#include "Vectors.h"

// A plane lies as one line with zeros before and after it. What a window reads beyond the left or
// right end of its row is the end of another row, and is masked.

/// Where the parts of a thread's memory begin, in numbers.
typedef struct {
  int64_t left, right, plane, row, count;
} parts;

INLINED int64_t whole(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

INLINED parts divided(int64_t height, int64_t width) {
  // Rows of steps of two begin anywhere and end with a whole vector.
  int64_t masks = whole(height * width) + LANES, border = whole(width + 1);
  parts found = {.left = 0, .right = masks};
  found.plane = 2 * masks + border;
  found.row = found.plane + whole(height * width) + border + 2 * LANES;
  found.count = found.row + whole(width) + LANES;
  return found;
}

int64_t kernels_window_memory(int64_t height, int64_t width) {
  return divided(height, width).count;
}

void kernels_window_prepare(int64_t height, int64_t width, float *memory) {
  parts at = divided(height, width);
  memset(memory, 0, (size_t)at.count * sizeof(float));
  int32_t *left = (int32_t *)memory + at.left, *right = (int32_t *)memory + at.right;
  for (int64_t place = 0; place < height * width; place++) {
    left[place] = place % width == 0 ? 0 : -1;
    right[place] = place % width == width - 1 ? 0 : -1;
  }
}

typedef integers unaligned_integers __attribute__((aligned(4)));

INLINED floats masked(floats value, const float *mask) {
  return (floats)((integers)value & *(const unaligned_integers *)mask);
}

/// Sixteen windows around a place of the plane and those that follow it.
INLINED floats windows(
    const kernels_window *window, const float *memory, const parts *at, int64_t place) {
  const float *center = memory + at->plane + place, *w = window->weights;
  floats left = {0}, right = {0}, sum = (floats){0} + window->bias;
  for (int row = 0; row < 3; row++) {
    const float *line = center + (row - 1) * window->width;
    left += load(line, -1, 0) * w[3 * row];
    sum += load(line, 0, 0) * w[3 * row + 1];
    right += load(line, 1, 0) * w[3 * row + 2];
  }
  sum += masked(left, memory + at->left + place) + masked(right, memory + at->right + place);
  return window->clamps ? clamped(sum) : sum;
}

/// Every second window of every second row.
INLINED void skip(const kernels_window *window, float *memory, const parts *at) {
  int64_t columns = (window->width - 1) / 2 + 1, rows = (window->height - 1) / 2 + 1;
  float *line = memory + at->row;
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t column = 0; column < window->width; column += LANES)
      store(
          windows(window, memory, at, 2 * row * window->width + column), line, column,
          window->target_is_half, 0);
    if (window->target_is_half) {
      uint16_t *target = (uint16_t *)window->target + row * columns;
      for (int64_t column = 0; column < columns; column++)
        target[column] = ((uint16_t *)line)[2 * column];
    } else {
      float *target = (float *)window->target + row * columns;
      for (int64_t column = 0; column < columns; column++) target[column] = line[2 * column];
    }
  }
}

INLINED void plane(const kernels_window *window, float *memory) {
  parts at = divided(window->height, window->width);
  int64_t count = window->height * window->width, last = count - LANES;
  for (int64_t place = 0; place < count; place += LANES) {
    int64_t start = place < last ? place : last;
    store(load(window->source, start, window->source_is_half), memory + at.plane, start, 0, 0);
  }
  if (window->step == 2) return skip(window, memory, &at);
  for (int64_t place = 0; place < count; place += LANES) {
    int64_t start = place < last ? place : last;
    store(windows(window, memory, &at, start), window->target, start, window->target_is_half, 0);
  }
}

WIDE static void wide_plane(const kernels_window *window, float *memory) {
  plane(window, memory);
}

NARROW static void narrow_plane(const kernels_window *window, float *memory) {
  plane(window, memory);
}

void kernels_window_plane(const kernels_window *window, float *memory, bool wide) {
  if (wide) wide_plane(window, memory);
  else narrow_plane(window, memory);
}
