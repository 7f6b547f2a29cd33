#ifndef STOWAGE_DEPTHWISE_H
#define STOWAGE_DEPTHWISE_H

// Windows over each channel of BF16 pixels whose channels lie side by side.

#include "Convolution.h"

typedef struct {
  int64_t channels, height, width, made_height, made_width;
  /// Rows and columns of a window, of which there are 1 to 7.
  int64_t window_height, window_width;
  /// Pixels from one window to the next, across 1 or 2.
  int64_t step_down, step_right;
  /// Rows and columns of zeros before the first ones.
  int64_t top, left;
  kernels_functions functions;
} kernels_depthwise;

/// Where the numbers of one sample lie.
typedef struct {
  /// [height, width, channels] of BF16.
  const void *source;
  /// Weights and biases as `kernels_depthwise_pack` leaves them.
  const float *weights;
  /// [made height, made width, channels] of BF16.
  void *target;
} kernels_depthwise_memory;

/// Whether there is a loop for such windows.
bool kernels_depthwise_fits(const kernels_depthwise *depthwise);

/// Numbers of packed weights.
int64_t kernels_depthwise_weight_count(const kernels_depthwise *depthwise);

/// Packs weights [channels, window height, window width] and biases; the latter may be missing.
void kernels_depthwise_pack(
    const kernels_depthwise *depthwise, const float *weights, const float *bias, float *packed);

/// Makes the rows from `first` to before `last` of one sample.
void kernels_depthwise_rows(
    const kernels_depthwise *depthwise, const kernels_depthwise_memory *memory, int64_t first,
    int64_t last);

#endif
