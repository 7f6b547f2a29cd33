// What becomes of sums: bias, residual, functions, and their place.

#pragma once

#include "CKernels.h"

#include "Panel.h"

/// Sums of some tiles.
typedef struct {
  const kernels_convolution *convolution;
  const kernels_convolution_memory *memory;
  const tile_list *tiles;
  /// [row tiles × 16, column tiles × 16]; null where there are none.
  float *sums;
  /// The first tile, and the first output of all groups.
  int64_t tile, output;
  int64_t row_tiles, column_tiles;
  /// Outputs of the group from the first one on.
  int64_t outputs;
} finished_block;

void finish_block(finished_block *block);
