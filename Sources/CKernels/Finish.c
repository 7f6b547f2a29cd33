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
  /// Where the first pixel's numbers lie, from pixel to pixel, and from result to result.
  int64_t first, distance, step;
  /// Outputs that are there.
  int64_t count;
  bool is_blocked;
} column;

/// What a column's sums become last, besides a function of its kind: nothing else, or zero where
/// they are below.
enum { PLAIN = -1, CLAMPED = -2 };

INLINED floats finished(const kernels_function *function, int kind, floats x) {
  if (kind == PLAIN) return x;
  return kind == CLAMPED ? clamped(x) : applied(function, (kernels_function_kind)kind, x);
}

/// Sums and what is added to them, as they become last, to their places.
INLINED void store_column(const column *at, int adds, const kernels_function *function, int kind) {
  for (const segment *part = at->segments; part < at->end; part++) {
    const float *sums = at->sums + part->row * at->stride;
    int64_t place = at->first + part->place * at->distance;
    for (int64_t row = 0; row < part->count; row++, sums += at->stride, place += at->step) {
      floats x = *(const floats *)sums + at->bias;
      if (adds) x += load(at->residual, place, 0);
      store(finished(function, kind, x), at->target, place, 0, 0);
    }
  }
}

#define EACH(kind) \
  case kind: \
    if (at->residual) store_column(at, 1, function, kind); \
    else store_column(at, 0, function, kind); \
    break;

static void store_whole(const column *at, const kernels_function *function, int kind) {
  switch (kind) {
    EACH(PLAIN)
    EACH(CLAMPED)
    EACH_FUNCTION(EACH)
  }
}

#undef EACH

/// A part of the sums with what is added to them.
INLINED floats complete(const column *at, const float *sums, int64_t place) {
  floats x = *(const floats *)sums + at->bias;
  if (!at->residual) return x;
  return x + (at->is_blocked || at->count == LANES ? load(at->residual, place, 0)
                                                   : load_some(at->residual, place, 0, at->count));
}

/// As above for fewer than sixteen outputs; blocks are filled with zeros.
static void store_part(const column *at, const kernels_function *function, int kind) {
  for (const segment *part = at->segments; part < at->end; part++)
    for (int64_t row = 0; row < part->count; row++) {
      int64_t place = at->first + part->place * at->distance + row * at->step;
      floats x = complete(at, at->sums + (part->row + row) * at->stride, place);
      x = finished(function, kind, x);
      if (at->is_blocked) {
        for (int64_t lane = at->count; lane < LANES; lane++) x[lane] = 0;
        store(x, at->target, place, 0, 0);
      } else {
        store_some(x, at->target, place, 0, at->count);
      }
    }
}

/// Functions that follow each other, on the sums themselves.
static void apply(const kernels_convolution *c, column *at) {
  for (const segment *part = at->segments; part < at->end; part++)
    for (int64_t row = 0; row < part->count; row++) {
      float *sums = at->sums + (part->row + row) * at->stride;
      int64_t place = at->first + part->place * at->distance + row * at->step;
      *(floats *)sums = complete(at, sums, place);
    }
  at->bias = (floats){0};
  at->residual = 0;
  for (int64_t each = 0; each < c->functions.count; each++)
    for (const segment *part = at->segments; part < at->end; part++)
      apply_function(
          &c->functions.each[each], at->sums + part->row * at->stride, part->count, at->stride);
}

static void finish_column(const kernels_convolution *c, column *at) {
  const kernels_function *function = c->functions.each;
  int kind = PLAIN;
  if (c->functions.count > 1) apply(c, at);
  else if (c->functions.count > 0)
    kind = function->kind == KERNELS_RELU && function->alpha == 0 ? CLAMPED : (int)function->kind;
  if (at->count == LANES) store_whole(at, function, kind);
  else store_part(at, function, kind);
}

/// Sixteen outputs from one on, of which so many are left.
static column column_at(
    const kernels_convolution *c, float *target, int64_t output, int64_t left) {
  int64_t places = c->spread_down * c->spread_right, each = c->outputs / places;
  int64_t plane = c->made_height * c->made_width * places;
  column at = {
      .target = target, .first = output, .distance = c->groups * c->outputs,
      .is_blocked = c->target_order == KERNELS_BLOCKS};
  if (at.is_blocked) {
    at.distance = LANES;
    at.first = output / LANES * plane * LANES;
  }
  if (places > 1) {
    int64_t place = output / each, down = place / c->spread_right;
    int64_t pixel = down * c->made_width * c->spread_right + place % c->spread_right;
    at.first = (output % each / LANES * plane + pixel) * LANES;
    left = c->channels - output % each;
  }
  at.step = at.distance * c->spread_right;
  at.count = left < LANES ? left : LANES;
  return at;
}

void finish_block(finished_block *block) {
  if (!block->sums) return;
  const kernels_convolution *c = block->convolution;
  const kernels_convolution_memory *memory = block->memory;
  for (int64_t tile = 0; tile < block->column_tiles; tile++) {
    int64_t output = block->output + tile * LANES, left = block->outputs - tile * LANES;
    column at = column_at(c, memory->target, output, left);
    at.stride = block->column_tiles * LANES;
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
