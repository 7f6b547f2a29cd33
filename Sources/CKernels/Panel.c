#include "MatrixVectors.h"

#include "Panel.h"

#include "Counts.h"
#include "MatrixUnits.h"
#include "Pieces.h"

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

int64_t panel_pixels(const kernels_convolution *c, int64_t rows) {
  return panel_lines(c, rows) * c->pitch + c->tail;
}

// MARK: Filling

/// Where the first channels of a pixel lie in the source.
static int64_t source_place(
    const kernels_convolution *c, int64_t sample, int64_t group, int64_t pixel) {
  int64_t plane = c->height * c->width, all = c->groups * c->inputs, first = group * c->inputs;
  if (c->source_order == KERNELS_ROWS) return (sample * plane + pixel) * all + first;
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

/// Pixels of one row: as many channels at a time as make a line of the cache.
static void fill_row(
    const kernels_convolution *c, const float *source, uint16_t *panel, int64_t count,
    int64_t piece_numbers) {
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
    panel += lines * c->pitch * c->distance;
    clear(c, panel, 0, c->tail, piece_numbers);
    panel += c->tail * c->distance;
  }
}

// MARK: Tiles

/// Rows of windows that follow each other at one distance: all of them where windows are one pixel
/// apart, when those between the rows are computed in vain.
static int64_t tile_lines(const kernels_convolution *c, int64_t rows) {
  return c->step_down == 1 && c->step_right == 1 ? 1 : rows;
}

static int64_t line_pixels(const kernels_convolution *c, int64_t rows) {
  return tile_lines(c, rows) == 1 ? (rows - 1) * c->pitch + c->made_width : c->made_width;
}

int64_t tile_count(const kernels_convolution *c, int64_t rows, int64_t samples) {
  return samples * tile_lines(c, rows) * up(line_pixels(c, rows), TILE_ROWS);
}

/// The most segments of a tile: more than one only where rows of the result are one line with
/// something between them.
static int64_t most_segments(const kernels_convolution *c) {
  if (tile_lines(c, 2) > 1 || c->pitch == c->made_width) return 1;
  int64_t rows = TILE_ROWS / c->pitch + 2;
  return rows < TILE_ROWS ? rows : TILE_ROWS;
}

int64_t tile_list_bytes(const kernels_convolution *c, int64_t count) {
  return (2 * count + 17) / 16 * 64 + count * most_segments(c) * (int64_t)sizeof(segment);
}

tile_list tile_list_in(void *memory, int64_t count) {
  tile_list tiles = {.start = memory, .first = (int32_t *)memory + count};
  tiles.segments = (segment *)((uint8_t *)memory + (2 * count + 17) / 16 * 64);
  return tiles;
}

/// The place of the first pixel of a row of the result.
static int64_t place_of(const kernels_convolution *c, int64_t sample, int64_t row) {
  int64_t plane = c->made_height * c->made_width;
  int64_t blocks = up(c->groups * c->outputs, LANES);
  return (c->target_order == KERNELS_BLOCKS ? sample * blocks : sample) * plane
      + row * c->made_width;
}

/// Appends the part of a row that lies in a tile.
static void add_segment(
    tile_list *tiles, int32_t *segments, int64_t tile, int64_t begin, int64_t end,
    int64_t place) {
  int64_t first = begin > tile ? begin : tile;
  int64_t last = end < tile + TILE_ROWS ? end : tile + TILE_ROWS;
  if (first >= last) return;
  tiles->segments[(*segments)++] =
      (segment){(int32_t)(first - tile), (int32_t)(last - first), place + first - begin};
}

/// A line of windows that follow each other, in which rows of the result begin at equal distances.
typedef struct {
  /// The first pixel in the panel, and pixels of the line.
  int64_t origin, length;
  /// Pixels from row to row, and of a row.
  int64_t distance, width;
  /// The place of the first result.
  int64_t place;
} window_line;

static void find_line(
    const kernels_convolution *c, const window_line *line, tile_list *tiles, int32_t *segments) {
  int64_t row = 0, place = line->place;
  for (int64_t pixel = 0; pixel < line->length; pixel += TILE_ROWS) {
    tiles->start[tiles->count] = (int32_t)(line->origin + pixel * c->step_right);
    tiles->first[tiles->count++] = *segments;
    while (row + line->width <= pixel) {
      row += line->distance;
      place += line->width;
    }
    int64_t next = row, there = place;
    for (; next < pixel + TILE_ROWS && next < line->length; next += line->distance) {
      add_segment(tiles, segments, pixel, next, next + line->width, there);
      there += line->width;
    }
  }
}

void tiles_find(const kernels_convolution *c, const strip *strip, tile_list *tiles) {
  int32_t segments = 0;
  tiles->count = 0;
  int64_t lines = tile_lines(c, strip->rows), length = line_pixels(c, strip->rows);
  // Rows without anything between them are one.
  bool is_one = lines > 1 || c->pitch == c->made_width;
  window_line line = {
      .length = length, .distance = is_one ? length : c->pitch,
      .width = is_one ? length : c->made_width};
  for (int64_t sample = 0; sample < strip->samples; sample++) {
    line.place = place_of(c, strip->first_sample + sample, strip->first_row);
    int64_t origin = sample * panel_pixels(c, strip->rows);
    for (int64_t each = 0; each < lines; each++, line.place += c->made_width) {
      line.origin = origin + each * c->step_down * c->pitch;
      find_line(c, &line, tiles, &segments);
    }
  }
  tiles->first[tiles->count] = segments;
}

#if defined(__x86_64__)
#pragma clang attribute pop
#endif
