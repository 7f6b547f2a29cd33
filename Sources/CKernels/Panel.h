// The part of a picture that tiles are read from, and where they are in it.

#pragma once

#include "CKernels.h"

/// Some rows of one sample, or some whole samples.
typedef struct {
  int64_t first_sample, samples;
  int64_t first_row, rows;
} strip;

strip strip_at(const kernels_convolution *convolution, int64_t index);

/// Rows of a panel for so many rows of the result.
int64_t panel_lines(const kernels_convolution *convolution, int64_t rows);

/// Pixels of a panel for so many rows of so many samples.
int64_t panel_pixels(const kernels_convolution *convolution, int64_t rows, int64_t samples);

/// Copies the pixels of a strip, one group of their channels, between borders of zeros.
void panel_fill(
    const kernels_convolution *convolution, const strip *strip, int64_t group, const float *source,
    uint16_t *panel, int64_t piece_numbers);

/// Rows of a tile whose results lie side by side.
typedef struct {
  int32_t row, count;
  /// The place of the first result: its index among the pixels of all samples where channels lie
  /// side by side, else that in the first block of its sample.
  int64_t place;
} segment;

/// Tiles of a strip: for each where its first pixel lies in the panel, and its segments.
typedef struct {
  int64_t count;
  int32_t *start;
  /// The first segment of each tile, and behind the last tile how many there are.
  int32_t *first;
  segment *segments;
} tile_list;

/// The most that a list holds.
typedef struct {
  int64_t tiles, segments;
} tile_limits;

/// Those of strips of so many rows of so many samples.
tile_limits tile_limits_of(const kernels_convolution *convolution, int64_t rows, int64_t samples);

/// Bytes of a list.
int64_t tile_list_bytes(tile_limits limits);

/// A list in memory at a multiple of 64 bytes.
tile_list tile_list_in(void *memory, tile_limits limits);

void tiles_find(const kernels_convolution *convolution, const strip *strip, tile_list *tiles);
