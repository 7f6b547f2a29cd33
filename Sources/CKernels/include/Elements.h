#ifndef STOWAGE_ELEMENTS_H
#define STOWAGE_ELEMENTS_H

// Numbers one by one, of one tensor or of two of one shape.

#include <stdbool.h>
#include <stdint.h>

#include "Convolution.h"

typedef enum {
  /// One of the functions that follow sums.
  KERNELS_APPLY,
  KERNELS_TANH,
  KERNELS_SQUARE_ROOT,
  KERNELS_ABSOLUTE,
  KERNELS_SQUARE,
  // Of two tensors.
  KERNELS_ADD,
  KERNELS_SUBTRACT,
  KERNELS_MULTIPLY,
  KERNELS_DIVIDE,
} kernels_elements_kind;

typedef struct {
  kernels_elements_kind kind;
  kernels_function function;
} kernels_elements;

/// Computes a count of numbers; the target may be a source. The second source is read by arithmetic
/// alone.
void kernels_elements_run(
    const kernels_elements *elements, const float *first, const float *second, float *target,
    int64_t count, bool wide);

#endif
