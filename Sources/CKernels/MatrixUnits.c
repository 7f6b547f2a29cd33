#include "MatrixUnits.h"

#include "CKernels.h"

// The one file that names instructions of a processor: AMX, which multiplies tiles of BF16.
#if defined(__x86_64__) && defined(__linux__)

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MATRIX __attribute__((target("amx-tile,amx-bf16")))
#define INLINED_MATRIX static inline __attribute__((always_inline, target("amx-tile,amx-bf16")))

// The kernel gives the memory for tiles to processes that ask (arch_prctl(2)).
enum { ASK_FOR_STATE = 0x1023, TILE_DATA = 18 };

bool kernels_ask_for_matrix_units(void) {
  return syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA) == 0;
}

/// The form of the eight tiles, as the processor reads it.
typedef struct {
  uint8_t palette, start_row, reserved[14];
  uint16_t column_bytes[16];
  uint8_t rows[16];
} tile_form;

MATRIX void matrix_units_begin(void) {
  tile_form form = {.palette = 1};
  for (int tile = 0; tile < 8; tile++) {
    form.column_bytes[tile] = TILE_DEPTH * 2;
    form.rows[tile] = TILE_ROWS;
  }
  _tile_loadconfig(&form);
}

MATRIX void matrix_units_end(void) { _tile_release(); }

// Where the two threads of a core both multiply tiles, one whose instructions for tiles follow each
// other closely comes off badly: with nothing between them a product takes 26 ns here, with these
// empty instructions 16, and without another thread 6.7 either way.
#define PAUSE4 "nop; nop; nop; nop;"
#define AFTER_READING __asm__ volatile(PAUSE4)
#define AFTER_MULTIPLYING __asm__ volatile(PAUSE4 PAUSE4)

// Tiles 0 to 3 are sums, 4 and 5 pixels, 6 and 7 weights; their numbers must be constants.

#define PIXELS(tile, row, piece) \
  if (row < rows) { \
    _tile_loadd(tile, block->pixels[row] + offset + piece * block->piece_bytes, \
        (size_t)block->pixel_bytes); \
    AFTER_READING; \
  }
#define WEIGHTS(tile, column, piece) \
  if (column < columns) { \
    _tile_loadd(tile, weights + (column * pieces + piece) * TILE_BYTES, TILE_DEPTH * 2); \
    AFTER_READING; \
  }

#define MULTIPLY(row, column) \
  if (row < rows && column < columns) { \
    _tile_dpbf16ps(row * 2 + column, 4 + row, 6 + column); \
    AFTER_MULTIPLYING; \
  }

/// Adds the upper weights of a step times a piece of its pixels. Here and below no tile is read
/// twice, and each is read while products of others keep the unit busy.
INLINED_MATRIX void add_upper(
    const block_product *block, const uint8_t *weights, int64_t offset, int rows, int columns,
    int pieces, int piece) {
  WEIGHTS(6, 0, 0)
  PIXELS(4, 0, piece)
  MULTIPLY(0, 0)
  WEIGHTS(7, 1, 0)
  MULTIPLY(0, 1)
  PIXELS(5, 1, piece)
  MULTIPLY(1, 0)
  MULTIPLY(1, 1)
}

/// After the lower pixels: adds the upper ones times the upper weights, which are in tiles, and the
/// lower weights.
INLINED_MATRIX void add_rest(
    const block_product *block, const uint8_t *weights, int64_t offset, int rows, int columns,
    int pieces) {
  PIXELS(4, 0, 0)
  MULTIPLY(0, 0)
  MULTIPLY(0, 1)
  PIXELS(5, 1, 0)
  MULTIPLY(1, 0)
  MULTIPLY(1, 1)
  WEIGHTS(6, 0, 1)
  MULTIPLY(0, 0)
  MULTIPLY(1, 0)
  WEIGHTS(7, 1, 1)
  MULTIPLY(0, 1)
  MULTIPLY(1, 1)
}

INLINED_MATRIX void product(const block_product *block, int rows, int columns, int pieces) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const uint8_t *weights = block->weights, *next = block->next;
  for (int64_t step = 0; step < block->steps; step++) {
    int64_t offset = block->offsets[step];
    for (int64_t line = 0; line < block->next_lines; line++, next += 64) {
      if (block->is_soon) _mm_prefetch(next, _MM_HINT_T0);
      else _mm_prefetch(next, _MM_HINT_T1);
    }
    add_upper(block, weights, offset, rows, columns, pieces, pieces - 1);
    if (pieces > 1) add_rest(block, weights, offset, rows, columns, pieces);
    weights += columns * pieces * TILE_BYTES;
  }
}

MATRIX void store_sums(const block_product *block, float *sums) {
  int columns = block->column_tiles, rows = block->row_tiles;
  size_t stride = (size_t)columns * TILE_COLUMNS * 4;
  float *below = sums + TILE_ROWS * columns * TILE_COLUMNS;
  _tile_stored(0, sums, stride);
  if (columns > 1) _tile_stored(1, sums + TILE_COLUMNS, stride);
  if (rows > 1) _tile_stored(2, below, stride);
  if (rows > 1 && columns > 1) _tile_stored(3, below + TILE_COLUMNS, stride);
}

MATRIX void multiply_block(const block_product *block) {
  switch (block->row_tiles * 4 + block->column_tiles * 2 + block->pieces) {
    case 4 + 2 + 1: return product(block, 1, 1, 1);
    case 4 + 2 + 2: return product(block, 1, 1, 2);
    case 4 + 4 + 1: return product(block, 1, 2, 1);
    case 4 + 4 + 2: return product(block, 1, 2, 2);
    case 8 + 2 + 1: return product(block, 2, 1, 1);
    case 8 + 2 + 2: return product(block, 2, 1, 2);
    case 8 + 4 + 1: return product(block, 2, 2, 1);
    default: return product(block, 2, 2, 2);
  }
}

#else

bool kernels_ask_for_matrix_units(void) { return false; }

void matrix_units_begin(void) {}
void matrix_units_end(void) {}
void multiply_block(const block_product *block) { (void)block; }
void store_sums(const block_product *block, float *sums) {
  (void)block;
  (void)sums;
}

#endif
