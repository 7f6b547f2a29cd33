#include "MatrixVectors.h"

#include "Finish.h"

#include "Functions.h"
#include "MatrixUnits.h"

/// Sixteen outputs of a tile's pixels.
typedef struct {
  /// From row to row of the sums.
  float *sums;
  int64_t stride;
  const segment *segments, *end;
  /// One number for each output.
  floats bias;
  const float *residual;
  float *target;
  /// Where the first pixel's numbers lie, and from pixel to pixel.
  int64_t first, distance;
  /// Outputs that are there.
  int64_t count;
  bool is_blocked;
} column;

/// Sums and what is added to them, cut at zero or not, to their places.
INLINED void store_column(const column *at, int adds, int clamps) {
  for (const segment *part = at->segments; part < at->end; part++) {
    const float *sums = at->sums + part->row * at->stride;
    int64_t place = at->first + part->place * at->distance;
    for (int64_t row = 0; row < part->count; row++, sums += at->stride, place += at->distance) {
      floats x = *(const floats *)sums + at->bias;
      if (adds) x += load(at->residual, place, 0);
      store(clamps ? clamped(x) : x, at->target, place, 0, 0);
    }
  }
}

static void store_whole(const column *at, bool clamps) {
  if (at->residual && clamps) store_column(at, 1, 1);
  else if (at->residual) store_column(at, 1, 0);
  else if (clamps) store_column(at, 0, 1);
  else store_column(at, 0, 0);
}

/// A part of the sums with what is added to them.
INLINED floats complete(const column *at, const float *sums, int64_t place) {
  floats x = *(const floats *)sums + at->bias;
  if (!at->residual) return x;
  return x + (at->is_blocked || at->count == LANES ? load(at->residual, place, 0)
                                                   : load_some(at->residual, place, 0, at->count));
}

/// As above for fewer than sixteen outputs; blocks are filled with zeros.
static void store_part(const column *at, bool clamps) {
  for (const segment *part = at->segments; part < at->end; part++)
    for (int64_t row = 0; row < part->count; row++) {
      int64_t place = at->first + (part->place + row) * at->distance;
      floats x = complete(at, at->sums + (part->row + row) * at->stride, place);
      if (clamps) x = clamped(x);
      if (at->is_blocked) {
        for (int64_t lane = at->count; lane < LANES; lane++) x[lane] = 0;
        store(x, at->target, place, 0, 0);
      } else {
        store_some(x, at->target, place, 0, at->count);
      }
    }
}

/// Functions other than Relu, on the sums themselves.
static void apply(const kernels_convolution *c, column *at) {
  for (const segment *part = at->segments; part < at->end; part++)
    for (int64_t row = 0; row < part->count; row++) {
      float *sums = at->sums + (part->row + row) * at->stride;
      *(floats *)sums = complete(at, sums, at->first + (part->place + row) * at->distance);
    }
  at->bias = (floats){0};
  at->residual = 0;
  for (int64_t each = 0; each < c->function_count; each++)
    for (const segment *part = at->segments; part < at->end; part++)
      apply_function(
          &c->functions[each], at->sums + part->row * at->stride, part->count, at->stride);
}

static void finish_column(const kernels_convolution *c, column *at) {
  bool clamps = c->function_count == 1 && c->functions[0].kind == KERNELS_RELU
      && c->functions[0].alpha == 0;
  if (c->function_count > 0 && !clamps) apply(c, at);
  if (at->count == LANES) store_whole(at, clamps);
  else store_part(at, clamps);
}

void finish_block(finished_block *block) {
  if (!block->sums) return;
  const kernels_convolution *c = block->convolution;
  const kernels_convolution_memory *memory = block->memory;
  int64_t plane = c->made_height * c->made_width;
  for (int64_t tile = 0; tile < block->column_tiles; tile++) {
    int64_t output = block->output + tile * LANES, left = block->outputs - tile * LANES;
    column at = {
        .stride = block->column_tiles * LANES, .target = memory->target,
        .count = left < LANES ? left : LANES, .is_blocked = c->target_order == KERNELS_BLOCKS};
    at.distance = at.is_blocked ? LANES : c->groups * c->outputs;
    at.first = at.is_blocked ? output / LANES * plane * LANES : output;
    for (int64_t row = 0; row < block->row_tiles; row++) {
      const int32_t *first = block->tiles->first + block->tile + row;
      at.bias = load_some(memory->bias, output, 0, at.count);
      at.residual = memory->residual;
      at.sums = block->sums + row * TILE_ROWS * at.stride + tile * LANES;
      at.segments = block->tiles->segments + first[0];
      at.end = block->tiles->segments + first[1];
      finish_column(c, &at);
    }
  }
  block->sums = 0;
}

#if defined(__x86_64__)
#pragma clang attribute pop
#endif
