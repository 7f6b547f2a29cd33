#include "MatrixVectors.h"

#include "Planes.h"

#include "Pieces.h"
#include "Turn.h"

int64_t plane_depth(int64_t channels) { return channels < 3 ? channels : PLANE_CHANNELS; }

/// Sixteen pixels of each channel, or the first of them: the pieces of a number in half a word.
typedef struct {
  words above[PLANE_CHANNELS], below[PLANE_CHANNELS];
} plane_pieces;

INLINED void take(
    const float *source, int64_t plane, int64_t channels, int64_t count, plane_pieces *pieces) {
#pragma clang loop unroll(full)
  for (int64_t channel = 0; channel < PLANE_CHANNELS; channel++) {
    pieces->above[channel] = pieces->below[channel] = (words){0};
    if (channel >= channels) continue;
    const float *from = source + channel * plane;
    floats value = count == LANES ? load(from, 0, 0) : load_some(from, 0, 0, count);
    halves above, below;
    split(value, &above, &below);
    pieces->above[channel] = __builtin_convertvector(above, words);
    pieces->below[channel] = __builtin_convertvector(below, words);
  }
}

/// Writes two channels of some pixels, or four.
INLINED void write(const words *channels, int64_t depth, uint16_t *to, int64_t count) {
  words first = channels[0] | channels[1] << 16, second = channels[2] | channels[3] << 16;
  words pixels[2] = {first, second};
  if (depth > 2) {
    pixels[0] = ZIPPED(first, second, 0);
    pixels[1] = ZIPPED(first, second, 8);
  }
  memcpy(to, pixels, (size_t)(count * depth) * 2);
}

INLINED void fill(
    const float *source, int64_t plane, int64_t channels, int64_t depth, uint16_t *to,
    int64_t count, int64_t piece_numbers) {
  plane_pieces pieces;
  int64_t pixel = 0;
  for (; pixel + LANES <= count; pixel += LANES, to += LANES * depth) {
    take(source + pixel, plane, channels, LANES, &pieces);
    write(pieces.above, depth, to, LANES);
    write(pieces.below, depth, to + piece_numbers, LANES);
  }
  if (pixel == count) return;
  take(source + pixel, plane, channels, count - pixel, &pieces);
  write(pieces.above, depth, to, count - pixel);
  write(pieces.below, depth, to + piece_numbers, count - pixel);
}

void fill_from_planes(
    const float *source, int64_t plane, int64_t channels, uint16_t *to, int64_t count,
    int64_t piece_numbers) {
  switch (channels) {
    case 2: return fill(source, plane, 2, 2, to, count, piece_numbers);
    case 3: return fill(source, plane, 3, 4, to, count, piece_numbers);
    default: return fill(source, plane, 4, 4, to, count, piece_numbers);
  }
}

#if defined(__x86_64__)
#pragma clang attribute pop
#endif
