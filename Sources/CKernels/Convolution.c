#include "Counts.h"
#include "Finish.h"
#include "MatrixUnits.h"
#include "Panel.h"
#include "Planes.h"
#include "Vectors.h"

// Tiles of 16 pixels by 16 outputs, two by two. Pixels are copied to a panel, with zeros around:
// there a window's numbers lie at the same distances from each pixel, so that tiles of all of them
// are read in place, and nothing is copied for each window apart.

/// Bytes of a panel that leave room in the second cache for weights.
enum { PANEL_BYTES = 512 << 10 };

/// Bytes of weights that stay in that cache while all pixels of a strip pass by.
enum { CACHED_WEIGHTS = 1 << 20 };

/// Bytes from weights that are read to those of the same pair that are asked for.
enum { OWN_DISTANCE = 8 << 10 };

/// Tiles of outputs in a group.
static int64_t column_tiles(const kernels_convolution *c) { return up(c->outputs, TILE_COLUMNS); }

/// Pairs of them.
static int64_t column_pairs(const kernels_convolution *c) { return up(column_tiles(c), 2); }

static int64_t row_bytes(const kernels_convolution *c) { return c->pitch * c->distance * 2; }

// MARK: Plan

bool kernels_convolution_fills_tiles(const kernels_convolution *c) {
  if (c->groups != 1 || c->gap_right != 1 || c->inputs > PLANE_CHANNELS) return false;
  int64_t taken = up(c->window_width * plane_depth(c->inputs), TILE_DEPTH) * TILE_DEPTH;
  return c->window_width * c->inputs * 5 >= taken * 3;
}

/// How a pixel's channels lie in a panel: so that the fewest steps are needed.
static void plan_steps(kernels_convolution *c) {
  bool is_blocked = c->source_order == KERNELS_BLOCKS;
  int64_t close = is_blocked ? up(c->inputs, LANES) * LANES : c->inputs;
  if (c->source_order == KERNELS_PLANES) close = plane_depth(c->inputs);
  int64_t whole = up(c->inputs, TILE_DEPTH) * TILE_DEPTH;
  int64_t run = c->window_height * up(c->window_width * close, TILE_DEPTH);
  int64_t apart = c->window_height * c->window_width * (whole / TILE_DEPTH);
  bool is_better = run < apart || (run == apart && close < whole);
  c->runs = is_better && (c->gap_right == 1 || c->window_width == 1);
  c->depth = c->runs ? close : whole;
  // Pixels an odd number of cache lines apart fall on all sets of the cache.
  bool is_even = whole / TILE_DEPTH % 2 == 0;
  c->distance = c->runs || !is_even ? c->depth : c->depth + TILE_DEPTH;
  c->steps = c->runs ? run : apart;
}

/// Rows of a panel share their borders: the zeros after one are those before the next.
static void plan_borders(kernels_convolution *c) {
  int64_t reach =
      (c->made_width - 1) * c->step_right + (c->window_width - 1) * c->gap_right + 1;
  int64_t taken = up(c->width, c->take_right);
  int64_t after = larger(reach - c->left - taken, 0);
  int64_t shared = smaller(smaller(c->left, after), reach - c->made_width);
  c->pitch = reach - shared;
  // A run may reach beyond its window: there weights are zero, and so must pixels be, as another
  // sample's might be no numbers.
  int64_t run = c->window_width * c->depth, beyond = up(run, TILE_DEPTH) * TILE_DEPTH - run;
  c->tail = shared + (c->runs ? up(beyond, c->distance) : 0);
}

/// Strips that leave every thread some work and whose panels stay in the cache.
static void plan_strips(kernels_convolution *c, int64_t threads) {
  int64_t bytes = panel_lines(c, c->made_height) * row_bytes(c) * 2;
  int64_t weights = kernels_convolution_weight_bytes(c) / c->groups;
  // Weights that do not stay there are read again for each strip: the fewer the better.
  int64_t most = weights > CACHED_WEIGHTS ? 2 * PANEL_BYTES : PANEL_BYTES;
  c->strip_rows = c->made_height;
  c->strip_samples = 1;
  c->ranges = 1;
  if (bytes <= most && c->samples >= threads) {
    c->strip_samples = smaller(most / bytes, up(c->samples, threads));
    c->strips = up(c->samples, c->strip_samples);
    return;
  }
  int64_t parts = up(bytes, most);
  if (parts * c->samples < threads) {
    // Weights that are larger than what they are multiplied with are better read once.
    if (weights > bytes && column_pairs(c) >= threads) c->ranges = threads;
    else parts = threads;
  } else if (threads > 1) {
    parts = up(parts, threads) * threads;
  }
  c->strip_rows = up(c->made_height, smaller(parts, c->made_height));
  c->strips = c->samples * up(c->made_height, c->strip_rows);
}

static int64_t panel_numbers(const kernels_convolution *c) {
  int64_t pixels = panel_pixels(c, c->strip_rows, c->strip_samples);
  // Tiles may reach beyond the last pixel, where nothing comes of it.
  int64_t beyond = TILE_ROWS * c->step_right * c->distance + TILE_DEPTH;
  return up(pixels * c->distance + beyond, 32) * 32;
}

static tile_limits limits(const kernels_convolution *c) {
  return tile_limits_of(c, c->strip_rows, c->strip_samples);
}

void kernels_convolution_plan(kernels_convolution *c, int64_t threads) {
  c->take_down = c->take_right = 1;
  c->spread_down = larger(c->spread_down, 1);
  c->spread_right = larger(c->spread_right, 1);
  if (c->window_height == 1 && c->window_width == 1 && c->top == 0 && c->left == 0) {
    c->take_down = c->step_down;
    c->take_right = c->step_right;
    c->step_down = c->step_right = 1;
  }
  plan_steps(c);
  bool is_pointwise = c->window_height * c->window_width * c->take_down * c->take_right == 1;
  bool is_whole = c->made_height == c->height && c->made_width == c->width;
  int64_t pixels = c->samples * c->height * c->width;
  bool is_flat = is_pointwise && is_whole && c->source_order == KERNELS_ROWS
      && c->target_order == KERNELS_ROWS && c->top == 0 && c->left == 0;
  if (is_flat) {
    // Pixels of all samples are rows of one matrix.
    c->height = c->made_height = pixels;
    c->samples = c->width = c->made_width = 1;
  }
  plan_borders(c);
  plan_strips(c, threads);
  int64_t bytes = panel_numbers(c) * 2 * 2 + tile_list_bytes(limits(c));
  // The panel of the next thread, too, begins where a line of the cache does.
  c->scratch = up(bytes, 64) * 64;
}

void kernels_convolution_offsets(const kernels_convolution *c, int32_t *offsets) {
  for (int64_t channel = 0; channel < (c->runs ? 1 : c->depth); channel += TILE_DEPTH)
    for (int64_t row = 0; row < c->window_height; row++) {
      int64_t start = row * c->gap_down * row_bytes(c) + channel * 2;
      int64_t count = c->runs ? up(c->window_width * c->depth, TILE_DEPTH) : c->window_width;
      int64_t distance = c->runs ? TILE_DEPTH : c->gap_right * c->distance;
      for (int64_t each = 0; each < count; each++)
        *offsets++ = (int32_t)(start + each * distance * 2);
    }
}

// MARK: Weights

int64_t kernels_convolution_weight_bytes(const kernels_convolution *c) {
  return c->groups * column_tiles(c) * c->steps * 2 * TILE_BYTES;
}

/// Where the weight of a number of a step lies, from that of the output on; -1 where there is none.
static int64_t weight_place(
    const kernels_convolution *c, int64_t step, int64_t number, int64_t input_stride,
    int64_t pixel_stride) {
  int64_t channel, row, column;
  if (c->runs) {
    int64_t each = up(c->window_width * c->depth, TILE_DEPTH);
    int64_t place = step % each * TILE_DEPTH + number;
    row = step / each;
    column = place / c->depth;
    channel = place % c->depth;
  } else {
    int64_t each = c->window_height * c->window_width;
    channel = step / each * TILE_DEPTH + number;
    row = step % each / c->window_width;
    column = step % c->window_width;
  }
  if (channel >= c->inputs || column >= c->window_width) return -1;
  return channel * input_stride + (row * c->window_width + column) * pixel_stride;
}

static uint16_t nearest(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if (value != value) return 0x7FC0;
  return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

static float widened(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

void kernels_convolution_pack(
    const kernels_convolution *c, const float *weights, int64_t output_stride,
    int64_t input_stride, int64_t pixel_stride, uint16_t *packed) {
  int64_t tiles = column_tiles(c), tile_numbers = TILE_BYTES / 2;
  for (int64_t group = 0; group < c->groups; group++)
    for (int64_t tile = 0; tile < tiles; tile += 2) {
      int64_t columns = smaller(tiles - tile, 2);
      for (int64_t step = 0; step < c->steps; step++)
        for (int64_t number = 0; number < TILE_DEPTH; number++) {
          int64_t from = weight_place(c, step, number, input_stride, pixel_stride);
          uint16_t *to = packed + number / 2 * TILE_COLUMNS * 2 + number % 2;
          for (int64_t column = 0; column < columns * TILE_COLUMNS; column++) {
            int64_t output = tile * TILE_COLUMNS + column;
            bool is_there = from >= 0 && output < c->outputs;
            int64_t row = group * c->outputs + output;
            float value = is_there ? weights[row * output_stride + from] : 0;
            uint16_t *place = to + column / TILE_COLUMNS * 2 * tile_numbers
                + column % TILE_COLUMNS * 2;
            *place = nearest(value);
            place[tile_numbers] = nearest(value - widened(*place));
          }
          if (number == TILE_DEPTH - 1) packed += columns * 2 * tile_numbers;
        }
    }
}

// MARK: Running

/// What a strip's blocks have in common.
typedef struct {
  const kernels_convolution *convolution;
  const kernels_convolution_memory *memory;
  const tile_list *tiles;
  int64_t group;
  const uint8_t *panel;
  int64_t piece_bytes;
  /// Whether all outputs of some pixels come before the next pixels.
  bool pixels_first;
} strip_work;

/// Lets a block ask for weights ahead of their use, which come from memory: its part of those of
/// the next pair of columns, or, where too few blocks ask in time, its own.
static void fetch_ahead(
    const strip_work *work, block_product *block, int64_t bytes, int64_t part, int64_t parts) {
  // Weights that stay in the second cache need no asking: it took 10 % of a product's time.
  if (work->pixels_first) return;
  bool is_alone = parts <= 2;
  int64_t lines = is_alone ? (part == 0 ? bytes / 64 : 0) : up(bytes / 64, parts);
  block->is_soon = is_alone;
  block->next_lines = up(lines, block->steps);
  block->next = block->weights
      + (is_alone ? OWN_DISTANCE : bytes + part * block->next_lines * block->steps * 64);
}

/// Multiplies two tiles of pixels for a pair of columns, while the sums before them are finished,
/// which takes other parts of the processor.
static void multiply_pair(
    const strip_work *work, int64_t tile, int64_t pair, finished_block *waiting, float *sums) {
  const kernels_convolution *c = work->convolution;
  int64_t all = column_tiles(c), columns = smaller(all - pair * 2, 2);
  int64_t first = pair * 2 * TILE_COLUMNS, tile_bytes = c->steps * 2 * TILE_BYTES;
  block_product block = {
      .pixel_bytes = c->distance * c->step_right * 2, .piece_bytes = work->piece_bytes,
      .weights = (const uint8_t *)work->memory->weights
          + (work->group * all + pair * 2) * tile_bytes,
      .offsets = work->memory->offsets, .steps = c->steps,
      .row_tiles = (int)smaller(work->tiles->count - tile, 2), .column_tiles = (int)columns,
      .pieces = 2};
  for (int row = 0; row < block.row_tiles; row++)
    block.pixels[row] = work->panel + (int64_t)work->tiles->start[tile + row] * c->distance * 2;
  fetch_ahead(work, &block, columns * tile_bytes, tile / 2, up(work->tiles->count, 2));
  multiply_block(&block);
  finish_block(waiting);
  store_sums(&block, sums);
  *waiting = (finished_block){
      .convolution = c, .memory = work->memory, .tiles = work->tiles, .sums = sums, .tile = tile,
      .row_tiles = block.row_tiles, .column_tiles = columns,
      .output = work->group * c->outputs + first, .outputs = c->outputs - first};
}

/// All pixels of a strip for some pairs of columns.
static void multiply_strip(const strip_work *work, int64_t range) {
  float sums[4 * TILE_ROWS * TILE_COLUMNS] __attribute__((aligned(64)));
  const kernels_convolution *c = work->convolution;
  int64_t pairs = column_pairs(c);
  int64_t begin = pairs * range / c->ranges, end = pairs * (range + 1) / c->ranges;
  finished_block waiting = {.sums = 0};
  if (work->pixels_first) {
    for (int64_t tile = 0; tile < work->tiles->count; tile += 2)
      for (int64_t pair = begin; pair < end; pair++)
        multiply_pair(work, tile, pair, &waiting, sums);
  } else {
    for (int64_t pair = begin; pair < end; pair++)
      for (int64_t tile = 0; tile < work->tiles->count; tile += 2)
        multiply_pair(work, tile, pair, &waiting, sums);
  }
  finish_block(&waiting);
}

void kernels_convolution_run(
    const kernels_convolution *c, const kernels_convolution_memory *memory, int64_t first,
    int64_t last, void *scratch) {
  if (first >= last) return;
  int64_t numbers = panel_numbers(c);
  uint16_t *panel = scratch;
  tile_list tiles = tile_list_in(panel + numbers * 2, limits(c));
  int64_t weights = kernels_convolution_weight_bytes(c) / c->groups;
  matrix_units_begin();
  for (int64_t part = first; part < last; part++) {
    strip strip = strip_at(c, part / c->ranges);
    tiles_find(c, &strip, &tiles);
    for (int64_t group = 0; group < c->groups; group++) {
      panel_fill(c, &strip, group, memory->source, panel, numbers);
      strip_work work = {
          .convolution = c, .memory = memory, .tiles = &tiles, .group = group,
          .panel = (const uint8_t *)panel,
          .piece_bytes = numbers * 2, .pixels_first = weights <= CACHED_WEIGHTS};
      multiply_strip(&work, part % c->ranges);
    }
  }
  matrix_units_end();
}
