#include "CKernels.h"
#include "Vectors.h"

// 6 outputs by 4 vectors are 24 sums in the 32 registers of AVX-512; by 1 vector, which is two
// registers of AVX2, 12 in its 16. Both are more than the 8 additions that are under way at once.
enum { TILE = 6, WIDEST = 4 };

int64_t kernels_tile(void) { return TILE; }

int64_t kernels_strip_width(bool wide) { return wide ? WIDEST * LANES : LANES; }

/// Where the vectors of a strip begin: the last one early enough to be whole, and from which of its
/// lanes on it is the strip's own.
typedef struct {
  int64_t start[WIDEST], first[WIDEST];
} places;

INLINED places placed(const kernels_product *product, int64_t pixel) {
  places found;
  for (int vector = 0; vector < WIDEST; vector++) {
    int64_t wanted = pixel + vector * LANES, last = product->plane - LANES;
    found.start[vector] = wanted < last ? wanted : last;
    found.first[vector] = wanted - found.start[vector];
  }
  return found;
}

/// Bias, residual and cut of a tile's sums.
INLINED void finish(
    const kernels_product *product, const places *at, const floats *sums, int64_t tile,
    int vectors) {
  int64_t left = product->outputs - tile * TILE, count = left < TILE ? left : TILE;
  for (int64_t lane = 0; lane < count; lane++) {
    int64_t output = tile * TILE + lane;
    for (int vector = 0; vector < vectors; vector++) {
      int64_t index = output * product->plane + at->start[vector];
      floats result = sums[lane * vectors + vector] + product->bias[output];
      if (product->residual)
        result += load(product->residual, index, product->target_is_half);
      if (product->clamps) result = clamped(result);
      store(result, product->target, index, product->target_is_half, at->first[vector]);
    }
  }
}

/// All outputs for so many vectors of pixels. The pixels are copied once, side by side and as FP32,
/// because every tile reads them again.
INLINED void strip(
    const kernels_product *product, int64_t pixel, floats *panel, int vectors) {
  places at = placed(product, pixel);
  for (int64_t input = 0; input < product->inputs; input++)
    for (int vector = 0; vector < vectors; vector++)
      panel[input * vectors + vector] = load(
          product->source, input * product->plane + at.start[vector], product->source_is_half);
  const float *weights = product->weights;
  for (int64_t tile = 0; tile * TILE < product->outputs; tile++) {
    floats sums[TILE][WIDEST], stored[TILE * WIDEST];
    for (int lane = 0; lane < TILE; lane++)
      for (int vector = 0; vector < vectors; vector++) sums[lane][vector] = (floats){0};
    for (int64_t input = 0; input < product->inputs; input++, weights += TILE)
      for (int lane = 0; lane < TILE; lane++)
        for (int vector = 0; vector < vectors; vector++)
          sums[lane][vector] += panel[input * vectors + vector] * weights[lane];
    // By way of memory: sums that a loop chooses among would not stay in registers before.
    for (int lane = 0; lane < TILE; lane++)
      for (int vector = 0; vector < vectors; vector++)
        stored[lane * vectors + vector] = sums[lane][vector];
    finish(product, &at, stored, tile, vectors);
  }
}

WIDE static void wide_strip(const kernels_product *product, int64_t pixel, floats *panel) {
  int64_t vectors = (product->plane - pixel + LANES - 1) / LANES;
  switch (vectors < WIDEST ? vectors : WIDEST) {
    case 1: return strip(product, pixel, panel, 1);
    case 2: return strip(product, pixel, panel, 2);
    case 3: return strip(product, pixel, panel, 3);
    default: return strip(product, pixel, panel, 4);
  }
}

NARROW static void narrow_strip(const kernels_product *product, int64_t pixel, floats *panel) {
  strip(product, pixel, panel, 1);
}

void kernels_product_strip(
    const kernels_product *product, int64_t pixel, float *panel, bool wide) {
  if (wide) wide_strip(product, pixel, (floats *)panel);
  else narrow_strip(product, pixel, (floats *)panel);
}
