#include "MatrixVectors.h"

#include "Panel.h"

#include "Counts.h"
#include "MatrixUnits.h"
#include "Pieces.h"
#include "Planes.h"

strip strip_at(const kernels_convolution *c, int64_t index) {
  if (c->strip_rows < c->made_height) {
    int64_t each = up(c->made_height, c->strip_rows);
    int64_t row = index % each * c->strip_rows, left = c->made_height - row;
    return (strip){index / each, 1, row, left < c->strip_rows ? left : c->strip_rows};
  }
  int64_t sample = index * c->strip_samples, left = c->samples - sample;
  return (strip){sample, left < c->strip_samples ? left : c->strip_samples, 0, c->made_height};
}

int64_t panel_lines(const kernels_convolution *c, int64_t rows) {
  return (rows - 1) * c->step_down + (c->window_height - 1) * c->gap_down + 1;
}

/// Pixels of a panel from one sample to the next, a multiple of those from window to window, so
/// that a tile may hold results of several samples.
static int64_t sample_pixels(const kernels_convolution *c, int64_t rows) {
  int64_t zeros = larger(c->tail - c->left, 0);
  return up(panel_lines(c, rows) * c->pitch + zeros, c->step_right) * c->step_right;
}

int64_t panel_pixels(const kernels_convolution *c, int64_t rows, int64_t samples) {
  return (samples - 1) * sample_pixels(c, rows) + panel_lines(c, rows) * c->pitch + c->tail;
}

// MARK: Filling

/// Where the first channels of a pixel lie in the source.
static int64_t source_place(
    const kernels_convolution *c, int64_t sample, int64_t group, int64_t pixel) {
  int64_t plane = c->height * c->width, all = c->groups * c->inputs, first = group * c->inputs;
  if (c->source_order == KERNELS_ROWS) return (sample * plane + pixel) * all + first;
  if (c->source_order == KERNELS_PLANES) return sample * all * plane + pixel;
  int64_t blocks = up(all, LANES);
  return ((sample * blocks + first / LANES) * plane + pixel) * LANES;
}

/// The same sixteen channels of the pixels of a row, or fewer; those behind the last are zero.
static void fill_some(
    const float *source, int64_t next, int64_t there, uint16_t *to, int64_t distance,
    int64_t width, int64_t count, int64_t piece_numbers) {
  if (there >= LANES && width == LANES) {
    for (int64_t pixel = 0; pixel < count; pixel++, source += next, to += distance)
      put(load(source, 0, 0), to, piece_numbers, LANES);
    return;
  }
  for (int64_t pixel = 0; pixel < count; pixel++, source += next, to += distance) {
    floats value = {0};
    if (there > 0) value = load_some(source, 0, 0, there < width ? there : width);
    put(value, to, piece_numbers, width);
  }
}

/// Numbers that follow each other in the source as in the panel.
static void fill_numbers(
    const float *source, uint16_t *panel, int64_t count, int64_t piece_numbers) {
  int64_t place = 0;
  for (; place + 2 * LANES <= count; place += 2 * LANES)
    put_line(load(source, place, 0), load(source, place + LANES, 0), panel + place, piece_numbers);
  for (; place < count; place += LANES) {
    int64_t left = smaller(count - place, LANES);
    put(load_some(source, place, 0, left), panel + place, piece_numbers, left);
  }
}

/// Pixels of one row: as many channels at a time as make a line of the cache.
static void fill_row(
    const kernels_convolution *c, const float *source, uint16_t *panel, int64_t count,
    int64_t piece_numbers) {
  bool is_line = c->source_order == KERNELS_ROWS && c->groups * c->inputs == c->depth;
  if (is_line && c->depth == c->distance && c->take_right == 1)
    return fill_numbers(source, panel, count * c->depth, piece_numbers);
  if (c->source_order == KERNELS_PLANES)
    return fill_from_planes(
        source, c->height * c->width, c->inputs, panel, count, piece_numbers);
  bool is_blocked = c->source_order == KERNELS_BLOCKS;
  int64_t next = c->take_right * (is_blocked ? LANES : c->groups * c->inputs);
  int64_t block = is_blocked ? c->height * c->width * LANES : LANES;
  // What blocks are filled with is zero already.
  int64_t there = is_blocked ? up(c->inputs, LANES) * LANES : c->inputs;
  int64_t channel = 0;
  for (; channel + 2 * LANES <= there; channel += 2 * LANES) {
    const float *from = source + channel / LANES * block;
    uint16_t *to = panel + channel;
    for (int64_t pixel = 0; pixel < count; pixel++, from += next, to += c->distance) {
      put_line(load(from, 0, 0), load(from, block, 0), to, piece_numbers);
    }
  }
  for (; channel < c->depth; channel += LANES) {
    int64_t left = c->depth - channel;
    fill_some(
        source + channel / LANES * block, next, there - channel, panel + channel, c->distance,
        left < LANES ? left : LANES, count, piece_numbers);
  }
}

static void clear(
    const kernels_convolution *c, uint16_t *panel, int64_t pixel, int64_t count,
    int64_t piece_numbers) {
  size_t bytes = (size_t)(count * c->distance) * 2;
  for (int piece = 0; piece < 2; piece++)
    memset(panel + piece * piece_numbers + pixel * c->distance, 0, bytes);
}

/// One line of a panel, between its borders.
static void fill_line(
    const kernels_convolution *c, int64_t sample, int64_t group, int64_t row, const float *source,
    uint16_t *to, int64_t piece_numbers) {
  if (row < 0 || row >= c->height) return clear(c, to, 0, c->pitch, piece_numbers);
  int64_t taken = up(c->width, c->take_right), room = c->pitch - c->left;
  int64_t count = taken < room ? taken : room;
  clear(c, to, 0, c->left, piece_numbers);
  clear(c, to, c->left + count, room - count, piece_numbers);
  int64_t from = source_place(c, sample, group, row * c->width);
  fill_row(c, source + from, to + c->left * c->distance, count, piece_numbers);
}

void panel_fill(
    const kernels_convolution *c, const strip *strip, int64_t group, const float *source,
    uint16_t *panel, int64_t piece_numbers) {
  int64_t lines = panel_lines(c, strip->rows);
  // Where there are no borders the lines of a picture are one.
  bool is_one = c->window_height == 1 && c->pitch == c->width && c->left == 0 && c->top == 0
      && c->take_down == 1 && c->take_right == 1
      && (c->made_height - 1) * c->step_down < c->height;
  for (int64_t sample = 0; sample < strip->samples; sample++) {
    int64_t in = strip->first_sample + sample;
    if (is_one) {
      int64_t row = strip->first_row * c->step_down;
      int64_t from = source_place(c, in, group, row * c->width);
      fill_row(c, source + from, panel, lines * c->pitch, piece_numbers);
    } else {
      for (int64_t line = 0; line < lines; line++) {
        int64_t row = (strip->first_row * c->step_down + line) * c->take_down - c->top;
        uint16_t *to = panel + line * c->pitch * c->distance;
        fill_line(c, in, group, row, source, to, piece_numbers);
      }
    }
    // The zeros before the next sample are the last of those behind this one.
    int64_t filled = lines * c->pitch, between = sample_pixels(c, strip->rows) - filled;
    bool is_last = sample == strip->samples - 1;
    clear(c, panel, filled, is_last ? c->tail : between, piece_numbers);
    panel += (filled + between) * c->distance;
  }
}

// MARK: Tiles

/// Rows of the result as they lie in a panel: those without anything between them are one.
typedef struct {
  int64_t rows, width;
  /// Pixels from the first window of a row to that of the next.
  int64_t distance;
} window_rows;

static window_rows window_rows_of(const kernels_convolution *c, int64_t rows) {
  int64_t distance = c->step_down * c->pitch;
  bool is_one = distance == c->made_width * c->step_right && c->spread_right == 1;
  if (is_one && c->spread_down == 1)
    return (window_rows){.rows = 1, .width = rows * c->made_width, .distance = distance};
  return (window_rows){.rows = rows, .width = c->made_width, .distance = distance};
}

tile_limits tile_limits_of(const kernels_convolution *c, int64_t rows, int64_t samples) {
  window_rows windows = window_rows_of(c, rows);
  int64_t all = samples * windows.rows, tiles = all * up(windows.width, TILE_ROWS);
  return (tile_limits){.tiles = tiles, .segments = tiles + all};
}

int64_t tile_list_bytes(tile_limits limits) {
  return up(2 * limits.tiles + 1, 16) * 64 + limits.segments * (int64_t)sizeof(segment);
}

tile_list tile_list_in(void *memory, tile_limits limits) {
  tile_list tiles = {.start = memory, .first = (int32_t *)memory + limits.tiles};
  tiles.segments = (segment *)((uint8_t *)memory + up(2 * limits.tiles + 1, 16) * 64);
  return tiles;
}

/// The place of the first pixel of a row of the result.
static int64_t place_of(const kernels_convolution *c, int64_t sample, int64_t row) {
  int64_t plane = c->made_height * c->made_width;
  int64_t blocks = up(c->groups * c->outputs, LANES);
  return (c->target_order == KERNELS_BLOCKS ? sample * blocks : sample) * plane
      + row * c->made_width * c->spread_down * c->spread_right;
}

/// Results of a row, whose first window begins at `pixel`, that the last tile reaches.
static int64_t reached(
    const kernels_convolution *c, const tile_list *tiles, int64_t pixel, int64_t width) {
  if (tiles->count == 0) return 0;
  int64_t distance = pixel - tiles->start[tiles->count - 1];
  if (distance % c->step_right != 0) return 0;
  return smaller(larger(TILE_ROWS - distance / c->step_right, 0), width);
}

/// Adds a row of the result: what the last tile reaches, then tiles that begin where one ends.
/// These are the fewest that hold all rows, as for points on a line.
static void add_row(
    const kernels_convolution *c, int64_t pixel, int64_t width, int64_t place, tile_list *tiles,
    int32_t *segments) {
  int64_t done = reached(c, tiles, pixel, width);
  if (done > 0) {
    int64_t row = (pixel - tiles->start[tiles->count - 1]) / c->step_right;
    tiles->segments[(*segments)++] = (segment){(int32_t)row, (int32_t)done, place};
  }
  for (; done < width; done += TILE_ROWS) {
    tiles->start[tiles->count] = (int32_t)(pixel + done * c->step_right);
    tiles->first[tiles->count++] = *segments;
    int64_t count = smaller(width - done, TILE_ROWS);
    tiles->segments[(*segments)++] =
        (segment){0, (int32_t)count, place + done * c->spread_right};
  }
}

void tiles_find(const kernels_convolution *c, const strip *strip, tile_list *tiles) {
  int32_t segments = 0;
  tiles->count = 0;
  window_rows windows = window_rows_of(c, strip->rows);
  for (int64_t sample = 0; sample < strip->samples; sample++) {
    int64_t pixel = sample * sample_pixels(c, strip->rows);
    int64_t place = place_of(c, strip->first_sample + sample, strip->first_row);
    for (int64_t row = 0; row < windows.rows; row++) {
      add_row(c, pixel, windows.width, place, tiles, &segments);
      pixel += windows.distance;
      place += windows.width * c->spread_down * c->spread_right;
    }
  }
  tiles->first[tiles->count] = segments;
}

#if defined(__x86_64__)
#pragma clang attribute pop
#endif
