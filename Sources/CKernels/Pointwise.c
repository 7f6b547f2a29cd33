#include "MatrixVectors.h"

#include "CKernels.h"
#include "Counts.h"
#include "Halves.h"
#include "MatrixUnits.h"

// Pixels go through in strips that stay in the second cache while all outputs are made of them, two
// tiles of pixels by two of outputs at a time.

enum {
  BLOCK = 2 * TILE_ROWS,
  PAIR = 2 * TILE_COLUMNS,
  STRIP_BYTES = 1 << 18,
  MOST_PIXELS = 256,
  SUMS = BLOCK * PAIR,
};

/// Numbers of a pixel, filled up to whole tiles.
INLINED int64_t depth(int64_t inputs) { return up(inputs, TILE_DEPTH) * TILE_DEPTH; }

/// Pixels of a strip: whole blocks.
INLINED int64_t strip_pixels(int64_t inputs) {
  int64_t fitting = STRIP_BYTES / (depth(inputs) * 2) / BLOCK * BLOCK;
  return fitting < BLOCK ? BLOCK : smaller(fitting, MOST_PIXELS);
}

int64_t kernels_pointwise_weight_bytes(int64_t inputs, int64_t outputs) {
  return up(outputs, TILE_COLUMNS) * TILE_COLUMNS * depth(inputs) * 2;
}

int64_t kernels_pointwise_scratch(int64_t inputs) {
  int64_t offsets = up(up(inputs, TILE_DEPTH) * 4, 64) * 64;
  return 2 * SUMS * 4 + offsets + strip_pixels(inputs) * depth(inputs) * 2;
}

/// One tile: for each pair of inputs the two weights of each output side by side.
static void pack_tile(
    const float *weights, int64_t inputs, int64_t outputs, int64_t output_stride,
    int64_t input_stride, uint16_t *tile) {
  for (int64_t input = 0; input < TILE_DEPTH; input++) {
    floats line = {0};
    if (input < inputs)
      for (int64_t output = 0; output < outputs; output++)
        line[output] = weights[input * input_stride + output * output_stride];
    halves bits = rounded(line);
    uint16_t *place = tile + input / 2 * TILE_COLUMNS * 2 + input % 2;
    for (int64_t output = 0; output < TILE_COLUMNS; output++) place[2 * output] = bits[output];
  }
}

void kernels_pointwise_pack(
    int64_t inputs, int64_t outputs, const float *weights, int64_t output_stride,
    int64_t input_stride, uint16_t *packed) {
  for (int64_t pair = 0; pair < outputs; pair += PAIR)
    for (int64_t input = 0; input < inputs; input += TILE_DEPTH)
      for (int64_t output = pair; output < smaller(pair + PAIR, outputs); output += TILE_COLUMNS) {
        pack_tile(
            weights + input * input_stride + output * output_stride,
            smaller(inputs - input, TILE_DEPTH), smaller(outputs - output, TILE_COLUMNS),
            output_stride, input_stride, packed);
        packed += TILE_BYTES / 2;
      }
}

/// A product and where its numbers lie.
typedef struct {
  kernels_pointwise of;
  kernels_pointwise_memory at;
} work;

/// Sums of a block of pixels for a pair of tiles of outputs.
typedef struct {
  /// [pixels, columns × 16]; null where there are none.
  float *sums;
  int64_t pixel, pixels, output, columns;
} sums_block;

/// Sixteen numbers or fewer, which are eight more often than not.
INLINED void keep(floats x, void *target, int64_t place, int is_half, int64_t count) {
  if (count == LANES) return store(x, target, place, is_half, 0);
  if (count != LANES / 2 || !is_half) return store_some(x, target, place, is_half, count);
  halves bits = rounded(x);
  memcpy((uint16_t *)target + place, &bits, LANES / 2 * sizeof(uint16_t));
}

/// One of the loops that finish sums.
typedef struct {
  /// One of the functions, or below zero.
  int kind;
  int adds, follows, is_half;
} way;

/// What becomes of one vector of sums.
INLINED floats finished(
    const work *p, floats x, int64_t place, int64_t count, way way) {
  if (way.adds)
    x += count == LANES ? load(p->at.residual, place, way.is_half)
                        : load_some(p->at.residual, place, way.is_half, count);
  if (way.kind == KERNELS_RELU) x = clamped(x);
  else if (way.kind == KERNELS_SWISH) x = roughly_swish(x, p->of.functions.each[0].alpha);
  else if (way.kind >= 0) x = applied(&p->of.functions.each[0], (kernels_function_kind)way.kind, x);
  if (way.follows) x = x * p->of.functions.each[1].alpha + p->of.functions.each[1].beta;
  return x;
}

/// Vectors of sums beside each other; the last one has `count` outputs.
INLINED void finish_columns(
    const work *given, const sums_block *block, int64_t column, int columns,
    int64_t count, way way) {
  // Of its own, so that no number that is stored can change it.
  const work p = *given;
  int64_t stride = block->columns * LANES, output = block->output + column * LANES;
  const float *sums = block->sums + column * LANES;
  floats bias[2];
  for (int each = 0; each < columns; each++)
    bias[each] = load_some(p.at.bias, output + each * LANES, 0, each + 1 < columns ? LANES : count);
  int64_t place = block->pixel * p.of.outputs + output;
  for (int64_t row = 0; row < block->pixels; row++, place += p.of.outputs, sums += stride)
    for (int each = 0; each < columns; each++) {
      int64_t there = each + 1 < columns ? LANES : count, start = place + each * LANES;
      floats x = *(const floats *)(sums + each * LANES) + bias[each];
      keep(finished(&p, x, start, there, way), p.at.target, start, way.is_half, there);
    }
}

INLINED void finish_as(const work *p, const sums_block *block, way way) {
  int64_t left = p->of.outputs - block->output;
  if (left >= 2 * LANES) return finish_columns(p, block, 0, 2, LANES, way);
  if (left >= LANES) finish_columns(p, block, 0, 1, LANES, way);
  if (left % LANES != 0) finish_columns(p, block, left / LANES, 1, left % LANES, way);
}

/// Functions of which there is no copy of the loop, one after another on the sums themselves.
static void finish_slowly(const work *p, const sums_block *block) {
  int64_t stride = block->columns * LANES;
  for (int64_t column = 0; column < block->columns; column++) {
    int64_t output = block->output + column * LANES, count = smaller(p->of.outputs - output, LANES);
    float *sums = block->sums + column * LANES;
    for (int64_t row = 0; row < block->pixels; row++) {
      floats *x = (floats *)(sums + row * stride);
      int64_t place = (block->pixel + row) * p->of.outputs + output;
      *x += load_some(p->at.bias, output, 0, count);
      if (p->at.residual) *x += load_some(p->at.residual, place, p->of.target_is_half, count);
    }
    for (int64_t each = 0; each < p->of.functions.count; each++)
      apply_function(&p->of.functions.each[each], sums, block->pixels, stride);
    for (int64_t row = 0; row < block->pixels; row++)
      keep(
          *(floats *)(sums + row * stride), p->at.target,
          (block->pixel + row) * p->of.outputs + output, p->of.target_is_half, count);
  }
}

#define AS(kind) \
  if (p->at.residual) finish_as(p, block, (way){kind, 1, 0, 1}); \
  else if (follows) finish_as(p, block, (way){kind, 0, 1, 1}); \
  else finish_as(p, block, (way){kind, 0, 0, 1}); \
  break;

/// The function whose loop is copied; -1 for none, -2 for what goes the slow way.
static int kind_of(const work *p, bool follows) {
  if (!p->of.target_is_half || (follows && p->at.residual)) return -2;
  if (p->of.functions.count == 0) return -1;
  if (p->of.functions.count > 1 + follows) return -2;
  kernels_function_kind kind = p->of.functions.each[0].kind;
  return kind == KERNELS_RELU && p->of.functions.each[0].alpha != 0 ? -2 : (int)kind;
}

static void finish(const work *p, sums_block *block) {
  if (!block->sums) return;
  bool follows = p->of.functions.count == 2 && p->of.functions.each[1].kind == KERNELS_LINE;
  switch (kind_of(p, follows)) {
    case -1: AS(-1)
    case KERNELS_RELU: AS(KERNELS_RELU)
    case KERNELS_HARD_SWISH: AS(KERNELS_HARD_SWISH)
    case KERNELS_SWISH: AS(KERNELS_SWISH)
    default: finish_slowly(p, block);
  }
  block->sums = 0;
}

#undef AS

/// Some pixels that lie as tiles want them: where they are, or copied.
typedef struct {
  const uint8_t *start;
  int64_t pixel_bytes, first, count;
} strip;

INLINED strip taken(
    const work *p, int64_t first, int64_t count, uint8_t *panel) {
  int64_t bytes = p->of.inputs * 2, pitch = depth(p->of.inputs) * 2;
  const uint8_t *source = (const uint8_t *)p->at.source + first * bytes;
  if (pitch == bytes && count % TILE_ROWS == 0) return (strip){source, bytes, first, count};
  // Tiles are read whole: neither other pixels nor what is no number may be in them.
  for (int64_t pixel = 0; pixel < count; pixel++) {
    uint8_t *place = panel + pixel * pitch;
    memset(place + pitch - 64, 0, 64);
    memcpy(place, source + pixel * bytes, (size_t)bytes);
  }
  return (strip){panel, pitch, first, count};
}

/// What a thread does: pixels and outputs, the latter in pairs of tiles.
typedef struct {
  int64_t pixel, last_pixel, output, last_output;
} share;

INLINED int64_t bound(int64_t total, int64_t size, int64_t part, int64_t count) {
  return smaller(total, up(total, size) * part / count * size);
}

INLINED share own_share(const work *p, int64_t thread, int64_t threads) {
  int64_t blocks = up(p->of.pixels, BLOCK), pairs = up(p->of.outputs, PAIR);
  share whole = {0, p->of.pixels, 0, p->of.outputs};
  // The larger of the parts is what the others wait for.
  if (up(blocks, threads) * pairs <= up(pairs, threads) * blocks) {
    whole.pixel = bound(p->of.pixels, BLOCK, thread, threads);
    whole.last_pixel = bound(p->of.pixels, BLOCK, thread + 1, threads);
  } else {
    whole.output = bound(p->of.outputs, PAIR, thread, threads);
    whole.last_output = bound(p->of.outputs, PAIR, thread + 1, threads);
  }
  return whole;
}

typedef struct {
  float *sums;
  int32_t *offsets;
  uint8_t *panel;
} memory;

/// All outputs of a share for a strip. Sums become numbers while the next ones are multiplied.
static void run_strip(
    const work *p, const share *own, const strip *strip, const memory *memory) {
  int64_t steps = up(p->of.inputs, TILE_DEPTH), turn = 0;
  sums_block last = {0};
  block_product product = {
      .pixel_bytes = strip->pixel_bytes, .offsets = memory->offsets, .steps = steps, .pieces = 1};
  for (int64_t output = own->output; output < own->last_output; output += PAIR) {
    product.weights = (const uint8_t *)p->at.weights + output * depth(p->of.inputs) * 2;
    product.column_tiles = p->of.outputs - output > TILE_COLUMNS ? 2 : 1;
    for (int64_t pixel = 0; pixel < strip->count; pixel += BLOCK, turn ^= 1) {
      sums_block next = {
          memory->sums + turn * SUMS, strip->first + pixel, smaller(strip->count - pixel, BLOCK),
          output, product.column_tiles};
      product.row_tiles = next.pixels > TILE_ROWS ? 2 : 1;
      product.pixels[0] = strip->start + pixel * strip->pixel_bytes;
      product.pixels[1] = product.pixels[0] + TILE_ROWS * strip->pixel_bytes;
      multiply_block(&product);
      finish(p, &last);
      store_sums(&product, next.sums);
      last = next;
    }
  }
  finish(p, &last);
}

void kernels_pointwise_run(
    const kernels_pointwise *pointwise, const kernels_pointwise_memory *at, int64_t thread,
    int64_t threads, void *scratch) {
  const work whole = {*pointwise, *at}, *p = &whole;
  share own = own_share(p, thread, threads);
  int64_t steps = up(p->of.inputs, TILE_DEPTH), size = strip_pixels(p->of.inputs);
  memory memory = {.sums = scratch};
  memory.offsets = (int32_t *)(memory.sums + 2 * SUMS);
  memory.panel = (uint8_t *)memory.offsets + up(steps * 4, 64) * 64;
  for (int64_t step = 0; step < steps; step++) memory.offsets[step] = (int32_t)(step * 64);
  matrix_units_begin();
  for (int64_t pixel = own.pixel; pixel < own.last_pixel; pixel += size) {
    strip strip = taken(p, pixel, smaller(size, own.last_pixel - pixel), memory.panel);
    run_strip(p, &own, &strip, &memory);
  }
  matrix_units_end();
}

#if defined(__x86_64__)
#pragma clang attribute pop
#endif
