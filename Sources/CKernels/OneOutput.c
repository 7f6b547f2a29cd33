#include "CKernels.h"
#include "Counts.h"
#include "Functions.h"
#include "Turn.h"

/// The sums of sixteen vectors, each in the lane whose number has the bits of its own turned round.
INLINED floats summed(floats *vectors) {
#pragma clang loop unroll(full)
  for (int count = LANES / 2; count > 0; count /= 2)
#pragma clang loop unroll(full)
    for (int each = 0; each < count; each++) {
      floats one = vectors[2 * each], other = vectors[2 * each + 1];
      vectors[each] = ZIPPED(one, other, 0) + ZIPPED(one, other, 8);
    }
  return vectors[0];
}

/// What sixteen pixels or fewer become at one place of the window.
INLINED floats place_sums(
    const kernels_one_output *row, int64_t pixel, int64_t count, int64_t place) {
  static const int turned[LANES] = {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};
  const float *weights = row->weights + place * row->groups * LANES;
  floats products[LANES] = {{0}};
  for (int64_t group = 0; group < row->groups; group++) {
    const float *from = row->source + group * row->group_distance + pixel * LANES;
    floats weight = load(weights, group * LANES, 0);
    if (count == LANES) {
#pragma clang loop unroll(full)
      for (int each = 0; each < LANES; each++)
        products[turned[each]] += load(from, each * LANES, 0) * weight;
    } else {
      for (int64_t each = 0; each < count; each++)
        products[turned[each]] += load(from, each * LANES, 0) * weight;
    }
  }
  return summed(products);
}

INLINED floats followed(const kernels_functions *functions, floats x) {
  for (int64_t each = 0; each < functions->count; each++)
    x = applied(&functions->each[each], functions->each[each].kind, x);
  return x;
}

INLINED void compute_row(const kernels_one_output *row) {
  for (int64_t pixel = 0; pixel < row->width; pixel += LANES) {
    int64_t count = smaller(row->width - pixel, LANES);
    for (int64_t down = 0; down < row->window_height; down++) {
      floats left = place_sums(row, pixel, count, 2 * down) + row->bias;
      floats right = place_sums(row, pixel, count, 2 * down + 1) + row->bias;
      left = followed(&row->functions, left);
      right = followed(&row->functions, right);
      floats pixels[2] = {ZIPPED(left, right, 0), ZIPPED(left, right, 8)};
      float *target = row->target + down * 2 * row->width + 2 * pixel;
      memcpy(target, pixels, (size_t)count * 2 * sizeof(float));
    }
  }
}

WIDE static void compute_wide(const kernels_one_output *row) { compute_row(row); }

NARROW static void compute_narrow(const kernels_one_output *row) { compute_row(row); }

void kernels_one_output_row(const kernels_one_output *row, bool wide) {
  if (wide) compute_wide(row);
  else compute_narrow(row);
}
