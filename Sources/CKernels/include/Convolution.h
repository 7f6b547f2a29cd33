#ifndef STOWAGE_CONVOLUTION_H
#define STOWAGE_CONVOLUTION_H

// Convolutions and products of FP32 on the processor's matrix units, which multiply BF16 and sum in
// FP32: each number goes in as the sum of two, of whose four products the three larger ones count.

#include <stdbool.h>
#include <stdint.h>

/// Asks the kernel for the memory that matrix units need; false where there are none.
bool kernels_ask_for_matrix_units(void);

/// How the numbers of a picture lie.
typedef enum {
  /// Pixel by pixel, all channels of one side by side.
  KERNELS_ROWS,
  /// In blocks of 16 channels, the last of which is filled with zeros.
  KERNELS_BLOCKS,
  /// Channel by channel: of a source that has two to four, and windows without gaps.
  KERNELS_PLANES,
} kernels_order;

typedef enum {
  /// alpha × x + beta.
  KERNELS_LINE,
  /// x between alpha and beta.
  KERNELS_CLIP,
  /// x, or alpha × x below zero.
  KERNELS_RELU,
  /// x × clip(x / 6 + 1 / 2, 0, 1).
  KERNELS_HARD_SWISH,
  /// 1 / (1 + exp(-x)).
  KERNELS_LOGISTIC,
  /// x × logistic(alpha × x).
  KERNELS_SWISH,
  /// x × Φ(x), and its approximation by a hyperbolic tangent.
  KERNELS_GELU,
  KERNELS_GELU_TANH,
} kernels_function_kind;

typedef struct {
  kernels_function_kind kind;
  float alpha, beta;
} kernels_function;

/// Functions of one number, one after the other.
typedef struct {
  int64_t count;
  kernels_function each[4];
} kernels_functions;

/// A convolution of pictures; a product of matrices is one of 1×1 over a picture of one column.
typedef struct {
  int64_t samples, groups;
  /// Channels of a group.
  int64_t inputs, outputs;
  int64_t height, width, made_height, made_width;
  int64_t window_height, window_width;
  /// Pixels from one window to the next, and between neighbours of a window.
  int64_t step_down, step_right, gap_down, gap_right;
  /// Rows and columns of zeros before the first ones.
  int64_t top, left;
  kernels_order source_order, target_order;
  kernels_functions functions;
  /// Rows and columns that each result becomes, as in a transposed convolution whose windows do not
  /// overlap: the outputs are those of one place after the other, of one group, in blocks. 0 is 1.
  int64_t spread_down, spread_right;
  /// Outputs of a place that are there, where results are spread; blocks are filled with zeros.
  int64_t channels;

  // What `kernels_convolution_plan` adds.

  /// Distances of rows and columns that a panel takes from the source.
  int64_t take_down, take_right;
  /// Numbers of a pixel in a panel and from one to the next, pixels of a row of it, and zeros
  /// behind a sample.
  int64_t depth, distance, pitch, tail;
  /// Whether a row of the window is read in one go, or pixel by pixel.
  bool runs;
  int64_t steps;
  /// Rows of the result, or whole samples, that a panel is made for.
  int64_t strip_rows, strip_samples;
  /// Parts of the work: strips of pixels by ranges of outputs.
  int64_t strips, ranges;
  /// Bytes of memory for each thread.
  int64_t scratch;
} kernels_convolution;

/// Whether rows of windows of few channels, which lie side by side in a panel, fill three fifths of
/// the tiles that they take: those of 7×7 pixels of three channels do, those of 3×3 do not.
bool kernels_convolution_fills_tiles(const kernels_convolution *convolution);

/// Completes a convolution for so many threads.
void kernels_convolution_plan(kernels_convolution *convolution, int64_t threads);

/// Writes for each step where its numbers lie in a panel.
void kernels_convolution_offsets(const kernels_convolution *convolution, int32_t *offsets);

/// Bytes of packed weights.
int64_t kernels_convolution_weight_bytes(const kernels_convolution *convolution);

/// Packs weights; the strides are the numbers from one output to the next, from one input to the
/// next, and from one pixel of the window to the next, row by row.
void kernels_convolution_pack(
    const kernels_convolution *convolution, const float *weights, int64_t output_stride,
    int64_t input_stride, int64_t pixel_stride, uint16_t *packed);

typedef struct {
  const float *source;
  const uint16_t *weights;
  /// One number for each output of each group.
  const float *bias;
  /// Added before the functions, in the target's order; may be the target; or null.
  const float *residual;
  float *target;
  const int32_t *offsets;
} kernels_convolution_memory;

/// Does the parts of the work from `first` to before `last`, in scratch at a multiple of 64 bytes.
void kernels_convolution_run(
    const kernels_convolution *convolution, const kernels_convolution_memory *memory,
    int64_t first, int64_t last, void *scratch);

#endif
