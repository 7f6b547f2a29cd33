#ifndef STOWAGE_POINTWISE_H
#define STOWAGE_POINTWISE_H

// Products of BF16 on units that multiply matrices: pixels whose channels lie side by side, or rows
// of a matrix, with constant weights.

#include "Convolution.h"

typedef struct {
  int64_t pixels, inputs, outputs;
  /// Whether the target is BF16 instead of FP32.
  bool target_is_half;
  kernels_functions functions;
} kernels_pointwise;

typedef struct {
  /// [pixels, inputs] of BF16.
  const void *source;
  /// As `kernels_pointwise_pack` leaves them.
  const uint16_t *weights;
  /// One number for each output.
  const float *bias;
  /// [pixels, outputs] of the type of the target, which it may be, added before the functions; or
  /// null.
  const void *residual;
  /// [pixels, outputs].
  void *target;
} kernels_pointwise_memory;

/// Bytes of packed weights.
int64_t kernels_pointwise_weight_bytes(int64_t inputs, int64_t outputs);

/// Packs weights that lie with these distances from output to output and from input to input.
void kernels_pointwise_pack(
    int64_t inputs, int64_t outputs, const float *weights, int64_t output_stride,
    int64_t input_stride, uint16_t *packed);

/// Bytes of memory that a thread needs.
int64_t kernels_pointwise_scratch(int64_t inputs);

/// Does a thread's share of the work, in scratch at a multiple of 64 bytes.
///
/// Each number is summed in the same order whatever the number of pixels and threads.
void kernels_pointwise_run(
    const kernels_pointwise *pointwise, const kernels_pointwise_memory *memory, int64_t thread,
    int64_t threads, void *scratch);

#endif
