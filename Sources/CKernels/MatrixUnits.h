// The instructions that multiply matrices, behind one function.

#pragma once

#include <stdbool.h>
#include <stdint.h>

/// Rows of a tile of sums, its columns, and the numbers that one instruction multiplies for each.
enum { TILE_ROWS = 16, TILE_COLUMNS = 16, TILE_DEPTH = 32, TILE_BYTES = 1024 };

/// Sums of one or two tiles of pixels for one or two tiles of outputs.
typedef struct {
  /// Where the first pixel of each tile begins; the others follow at equal distances.
  const uint8_t *pixels[2];
  int64_t pixel_bytes;
  /// From the upper to the lower pieces of the same numbers.
  int64_t piece_bytes;
  /// [steps, column tiles, pieces] tiles: for each pair of numbers all columns, side by side.
  const uint8_t *weights;
  /// For each step where its numbers lie, in bytes from those of the pixel.
  const int32_t *offsets;
  int64_t steps;
  int row_tiles, column_tiles, pieces;
  /// What will be read soon, asked for along the way, and lines of the cache of it for each step.
  const uint8_t *next;
  int64_t next_lines;
  /// Whether so soon that it should come into the first cache.
  bool is_soon;
} block_product;

/// Makes the calling thread ready to multiply, and lets go of what that takes.
void matrix_units_begin(void);
void matrix_units_end(void);

/// Multiplies; the sums stay in the tiles.
void multiply_block(const block_product *block);

/// Stores the sums of the last block: [row tiles × 16, column tiles × 16].
void store_sums(const block_product *block, float *sums);
