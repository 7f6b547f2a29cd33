#ifndef STOWAGE_ONE_OUTPUT_H
#define STOWAGE_ONE_OUTPUT_H

// Transposed convolutions to one channel whose windows, two pixels wide, do not overlap.

#include <stdbool.h>
#include <stdint.h>

#include "Convolution.h"

/// A row of pixels, which becomes as many rows as the window has.
typedef struct {
  /// [groups, 16] of each pixel: groups lie so many numbers apart, those of the last one that are
  /// not there are zero.
  const float *source;
  int64_t groups, group_distance;
  int64_t width;
  /// [rows of the window, 2, groups, 16].
  const float *weights;
  int64_t window_height;
  float bias;
  kernels_functions functions;
  /// [rows of the window, 2 × width].
  float *target;
} kernels_one_output;

void kernels_one_output_row(const kernels_one_output *row, bool wide);

#endif
