#ifndef STOWAGE_KERNELS_H
#define STOWAGE_KERNELS_H

// Loops that need wider vectors than the oldest processor served, written once in the compiler's
// own vectors and compiled for each width: Swift compiles a file for one processor alone.

#include <stdbool.h>
#include <stdint.h>

/// Pixels of a strip: as many as fill the registers that sums are kept in.
///
/// - Parameter wide: Whether the processor has vectors of 64 bytes.
int64_t kernels_strip_width(bool wide);

/// Outputs of a strip that are computed together, and whose weights lie side by side.
int64_t kernels_tile(void);

/// One small product of weights and pixels: outputs = weights × source + bias.
typedef struct {
  /// [inputs, plane]; `plane` is 16 at least.
  const void *source;
  /// [tiles, inputs, tile]: the outputs of a tile side by side, the last tile filled with zeros.
  const float *weights;
  /// One number for each output.
  const float *bias;
  /// [outputs, plane], of the target's type, added before the cut; may be the target; or null.
  const void *residual;
  /// [outputs, plane].
  void *target;
  int64_t inputs, outputs, plane;
  /// Whether numbers are BF16 instead of FP32.
  int source_is_half, target_is_half;
  /// Whether results below zero become zero.
  int clamps;
} kernels_product;

/// Computes all outputs for the strip that begins at a pixel.
///
/// - Parameters:
///   - panel: Memory for inputs × strip width numbers, at a multiple of 64 bytes.
///   - wide: As above; the processor must have such vectors (AVX-512) then.
void kernels_product_strip(
    const kernels_product *product, int64_t pixel, float *panel, bool wide);

/// A window of 3×3 over one channel, with a border of one zero.
typedef struct {
  /// [height, width].
  const void *source;
  /// 9 numbers, row by row.
  const float *weights;
  float bias;
  /// [(height - 1) / step + 1, (width - 1) / step + 1].
  void *target;
  int64_t height, width;
  /// Pixels from one window to the next, in both directions: 1 or 2.
  int64_t step;
  int source_is_half, target_is_half;
  /// Whether results below zero become zero.
  int clamps;
} kernels_window;

/// Numbers of memory that a thread needs for windows over planes of a size.
int64_t kernels_window_memory(int64_t height, int64_t width);

/// Makes the memory ready; it starts at a multiple of 64 bytes.
void kernels_window_prepare(int64_t height, int64_t width, float *memory);

/// Computes one channel, whose plane has 16 pixels at least, in memory that is ready for its size.
void kernels_window_plane(const kernels_window *window, float *memory, bool wide);

/// Numbers of several rows multiplied and added to, column by column.
typedef struct {
  /// [rows, columns].
  const void *source;
  /// One number for each column.
  const float *factors, *addends;
  /// [rows, columns]; may be the source.
  void *target;
  int64_t rows, columns;
  /// Whether numbers are BF16 instead of FP32.
  int is_half;
  /// Whether results below zero become zero.
  int clamps;
} kernels_scaling;

void kernels_scale(const kernels_scaling *scaling, bool wide);

/// The largest numbers of windows over pixels whose channels lie side by side, or their averages.
typedef struct {
  /// [height, width, channels].
  const void *source;
  /// [columns, channels]: one row of windows.
  void *target;
  int64_t height, width, channels, columns;
  /// Pixels of a window that are there; those before the first and beyond the last are not.
  int64_t window_height, window_width;
  /// Where the row's windows begin: rows from the top, columns from the left, negative before the
  /// first; and columns from one window to the next.
  int64_t top, left, step;
  int is_half;
  /// Whether averages are wanted, of the pixels that are there.
  int averages;
} kernels_pool;

void kernels_pool_row(const kernels_pool *pool, bool wide);

/// Local response normalisation over pixels whose channels lie side by side: each number divided by
/// (bias + factor × the sum of squares around it) to the power 3/4.
typedef struct {
  /// [pixels, channels].
  const void *source;
  /// [pixels, channels].
  void *target;
  int64_t pixels, channels;
  /// Channels whose squares count, an odd number.
  int64_t size;
  float factor, bias;
  int is_half;
} kernels_responses;

/// Numbers of memory that a thread needs.
int64_t kernels_responses_memory(const kernels_responses *responses);

void kernels_responses_run(const kernels_responses *responses, float *memory, bool wide);

/// x × logistic(alpha × x) of BF16 numbers, in their place.
void kernels_swish(uint16_t *numbers, int64_t count, float alpha);

#include "Attention.h"
#include "Convolution.h"
#include "Depthwise.h"
#include "Elements.h"
#include "OneOutput.h"
#include "Pointwise.h"

#endif
