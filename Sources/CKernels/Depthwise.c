#include "MatrixVectors.h"

#include "CKernels.h"
#include "Counts.h"
#include "Functions.h"

// Thirty-two channels of a pixel are one vector of pairs: shifted up, it holds the even channels in
// FP32, and without its lower halves the odd ones, which is cheaper than to spread each half.
// Weights lie in the same order.

enum { PAIRS = 2 * LANES, TOGETHER = 4, MOST_COLUMNS = 64, WIDEST = 7 };

bool kernels_depthwise_fits(const kernels_depthwise *d) {
  bool hasLoop = d->window_width == 3 || d->window_width == 5;
  return hasLoop && (d->step_right == 1 || d->step_right == 2) && d->top >= 0 && d->left >= 0;
}

INLINED int64_t group_numbers(const kernels_depthwise *d) {
  return (1 + d->window_height * d->window_width) * PAIRS;
}

int64_t kernels_depthwise_weight_count(const kernels_depthwise *d) {
  return up(d->channels, PAIRS) * group_numbers(d);
}

void kernels_depthwise_pack(
    const kernels_depthwise *d, const float *weights, const float *bias, float *packed) {
  int64_t window = d->window_height * d->window_width;
  for (int64_t first = 0; first < d->channels; first += PAIRS, packed += group_numbers(d))
    for (int64_t place = 0; place < PAIRS; place++) {
      int64_t channel = first + place;
      float *to = packed + place % 2 * LANES + place / 2;
      bool isThere = channel < d->channels;
      to[0] = isThere && bias ? bias[channel] : 0;
      for (int64_t pixel = 0; pixel < window; pixel++)
        to[(1 + pixel) * PAIRS] = isThere ? weights[channel * window + pixel] : 0;
    }
}

#if defined(__x86_64__)

/// Thirty-two channels of one row of windows.
typedef struct {
  const kernels_depthwise *depthwise;
  const uint16_t *source;
  int64_t row, channel;
  __mmask32 mask;
  const float *weights;
} line;

typedef struct {
  floats even, odd;
} pairs;

INLINED pairs split(__m512i bits) {
  words all = (words)bits;
  return (pairs){(floats)(all << 16), (floats)(all & 0xFFFF0000)};
}

INLINED void store_pairs(pairs x, const line *line, uint16_t *place) {
  const __m512i order = _mm512_set_epi16(
      31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
      19, 3, 18, 2, 17, 1, 16, 0);
  __m512i halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)x.odd, (__m512)x.even);
  _mm512_mask_storeu_epi16(place, line->mask, _mm512_permutexvar_epi16(order, halves));
}

/// The sums of some windows beside each other, at the edge with pixels that are not there.
INLINED void windows(
    const line *line, int64_t column, pairs *sums, int width, int step, int atEdge) {
  const kernels_depthwise *d = line->depthwise;
  int64_t top = line->row * d->step_down - d->top, left = column * step - d->left;
  int64_t first = larger(0, -top), last = smaller(d->window_height, d->height - top);
  pairs sum[TOGETHER];
  for (int each = 0; each < TOGETHER; each++)
    sum[each] = (pairs){load(line->weights, 0, 0), load(line->weights, LANES, 0)};
  for (int64_t row = first; row < last; row++) {
    const uint16_t *source = line->source
        + ((top + row) * d->width + left) * d->channels + line->channel;
    const float *weights = line->weights + (1 + row * width) * PAIRS;
    for (int pixel = 0; pixel < (TOGETHER - 1) * step + width; pixel++) {
      bool isThere = !atEdge || (left + pixel >= 0 && left + pixel < d->width);
      pairs x = split(_mm512_maskz_loadu_epi16(
          isThere ? line->mask : 0, source + pixel * d->channels));
      for (int each = 0; each < TOGETHER; each++) {
        int place = pixel - each * step;
        if (place < 0 || place >= width) continue;
        sum[each].even += x.even * load(weights, place * PAIRS, 0);
        sum[each].odd += x.odd * load(weights, place * PAIRS + LANES, 0);
      }
    }
  }
  for (int each = 0; each < TOGETHER; each++) sums[each] = sum[each];
}

INLINED void sum_columns(
    const line *line, int64_t first, int64_t last, pairs *sums, int width, int step) {
  const kernels_depthwise *d = line->depthwise;
  for (int64_t column = first; column < last; column += TOGETHER, sums += TOGETHER) {
    int64_t left = column * step - d->left, right = left + (TOGETHER - 1) * step + width;
    if (left >= 0 && right <= d->width) windows(line, column, sums, width, step, 0);
    else windows(line, column, sums, width, step, 1);
  }
}

static void sum_some(const line *line, int64_t first, int64_t last, pairs *sums) {
  const kernels_depthwise *d = line->depthwise;
  if (d->window_width == 3 && d->step_right == 1) sum_columns(line, first, last, sums, 3, 1);
  else if (d->window_width == 3) sum_columns(line, first, last, sums, 3, 2);
  else if (d->step_right == 1) sum_columns(line, first, last, sums, 5, 1);
  else sum_columns(line, first, last, sums, 5, 2);
}

/// `kind` is one of the functions, or below zero; a line may follow it.
INLINED void finish_as(
    const line *line, const pairs *sums, int64_t count, uint16_t *target, int kind, int follows) {
  const kernels_depthwise d = *line->depthwise;
  float factor = d.functions.each[1].alpha, addend = d.functions.each[1].beta;
  for (int64_t column = 0; column < count; column++, target += d.channels) {
    pairs x = sums[column];
    if (kind == KERNELS_RELU) x = (pairs){clamped(x.even), clamped(x.odd)};
    else if (kind >= 0)
      x = (pairs){
          applied(&d.functions.each[0], (kernels_function_kind)kind, x.even),
          applied(&d.functions.each[0], (kernels_function_kind)kind, x.odd)};
    if (follows) x = (pairs){x.even * factor + addend, x.odd * factor + addend};
    store_pairs(x, line, target);
  }
}

static void finish(const line *line, pairs *sums, int64_t count, uint16_t *target) {
  const kernels_depthwise *d = line->depthwise;
  bool follows = d->functions.count == 2 && d->functions.each[1].kind == KERNELS_LINE;
  bool isOne = d->functions.count == 1 + follows;
  kernels_function_kind kind = d->functions.each[0].kind;
  if (isOne && kind == KERNELS_HARD_SWISH && follows)
    return finish_as(line, sums, count, target, KERNELS_HARD_SWISH, 1);
  if (isOne && kind == KERNELS_HARD_SWISH)
    return finish_as(line, sums, count, target, KERNELS_HARD_SWISH, 0);
  if (isOne && !follows && kind == KERNELS_RELU && d->functions.each[0].alpha == 0)
    return finish_as(line, sums, count, target, KERNELS_RELU, 0);
  for (int64_t each = 0; each < d->functions.count; each++)
    apply_function(&d->functions.each[each], (float *)sums, 2 * count, LANES);
  finish_as(line, sums, count, target, -1, 0);
}

void kernels_depthwise_rows(
    const kernels_depthwise *d, const kernels_depthwise_memory *memory, int64_t first,
    int64_t last) {
  pairs sums[MOST_COLUMNS];
  line line = {.depthwise = d, .source = memory->source, .weights = memory->weights};
  // Rows within channels: most of what a row reads is there from the row before.
  for (; line.channel < d->channels; line.channel += PAIRS, line.weights += group_numbers(d)) {
    int64_t count = smaller(PAIRS, d->channels - line.channel);
    line.mask = (__mmask32)(count == PAIRS ? ~0u : (1u << count) - 1);
    for (line.row = first; line.row < last; line.row++)
      for (int64_t column = 0; column < d->made_width; column += MOST_COLUMNS) {
        int64_t end = smaller(column + MOST_COLUMNS, d->made_width);
        sum_some(&line, column, end, sums);
        uint16_t *target = (uint16_t *)memory->target
            + (line.row * d->made_width + column) * d->channels + line.channel;
        finish(&line, sums, end - column, target);
      }
  }
}

#pragma clang attribute pop

#else

void kernels_depthwise_rows(
    const kernels_depthwise *d, const kernels_depthwise_memory *memory, int64_t first,
    int64_t last) {
  (void)d;
  (void)memory;
  (void)first;
  (void)last;
}

#endif
