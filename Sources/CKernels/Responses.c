#include "CKernels.h"
#include "Vectors.h"

/// The number to the power -3/4, to 1e-6 of it: Newton's steps from what halving the exponent
/// guesses (Lomont's way for -1/2, 2003).
INLINED floats inverse_three_quarters(floats x) {
  // The bits of a number are about its logarithm: -3/4 of them, moved to where 1 stays 1.
  words bits = 0x6F140000u - ((words)x >> 2) * 3;
  floats y = (floats)bits;
  for (int step = 0; step < 3; step++) {
    // The cube of x alone might be infinite.
    floats root = x * y * y;
    y *= 1.25f - 0.25f * (root * root * x);
  }
  return y;
}

INLINED void normalise(const kernels_responses *responses, float *squares, int is_half) {
  int64_t channels = responses->channels, half = responses->size / 2;
  int64_t whole = channels / LANES * LANES, rest = channels - whole;
  for (int64_t place = 0; place < kernels_responses_memory(responses); place++) squares[place] = 0;
  for (int64_t pixel = 0; pixel < responses->pixels; pixel++) {
    int64_t start = pixel * channels;
    for (int64_t channel = 0; channel < channels; channel += LANES) {
      floats x = channel < whole
                     ? load(responses->source, start + channel, is_half)
                     : load_some(responses->source, start + channel, is_half, rest);
      store(x * x, squares, half + channel, 0, 0);
    }
    for (int64_t channel = 0; channel < channels; channel += LANES) {
      floats sum = {0};
      for (int64_t place = 0; place < responses->size; place++)
        sum += load(squares, channel + place, 0);
      floats factor = inverse_three_quarters(sum * responses->factor + responses->bias);
      if (channel < whole)
        store(
            load(responses->source, start + channel, is_half) * factor, responses->target,
            start + channel, is_half, 0);
      else
        store_some(
            load_some(responses->source, start + channel, is_half, rest) * factor,
            responses->target, start + channel, is_half, rest);
    }
  }
}

int64_t kernels_responses_memory(const kernels_responses *responses) {
  return (responses->channels / LANES + 1) * LANES + responses->size;
}

INLINED void normalise_either(const kernels_responses *responses, float *memory) {
  if (responses->is_half) normalise(responses, memory, 1);
  else normalise(responses, memory, 0);
}

WIDE static void wide_normalise(const kernels_responses *responses, float *memory) {
  normalise_either(responses, memory);
}

NARROW static void narrow_normalise(const kernels_responses *responses, float *memory) {
  normalise_either(responses, memory);
}

void kernels_responses_run(const kernels_responses *responses, float *memory, bool wide) {
  if (wide) wide_normalise(responses, memory);
  else narrow_normalise(responses, memory);
}
