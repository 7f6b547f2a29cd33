#include "CKernels.h"
#include "Vectors.h"

INLINED floats result(const kernels_scaling *scaling, floats x, floats factor, floats addend) {
  floats y = x * factor + addend;
  return scaling->clamps ? clamped(y) : y;
}

/// All rows as one line, whose columns come again with every vector.
INLINED void scale_line(const kernels_scaling *scaling, int is_half) {
  floats factor, addend;
  for (int lane = 0; lane < LANES; lane++) {
    factor[lane] = scaling->factors[lane % scaling->columns];
    addend[lane] = scaling->addends[lane % scaling->columns];
  }
  int64_t count = scaling->rows * scaling->columns, place = 0;
  for (; place + LANES <= count; place += LANES)
    store(
        result(scaling, load(scaling->source, place, is_half), factor, addend), scaling->target,
        place, is_half, 0);
  if (place == count) return;
  floats x = load_some(scaling->source, place, is_half, count - place);
  store_some(
      result(scaling, x, factor, addend), scaling->target, place, is_half, count - place);
}

INLINED void scale_rows(const kernels_scaling *scaling, int is_half) {
  for (int64_t row = 0; row < scaling->rows; row++) {
    int64_t start = row * scaling->columns, column = 0;
    for (; column + LANES <= scaling->columns; column += LANES)
      store(
          result(
              scaling, load(scaling->source, start + column, is_half),
              load(scaling->factors, column, 0), load(scaling->addends, column, 0)),
          scaling->target, start + column, is_half, 0);
    int64_t left = scaling->columns - column;
    if (left == 0) continue;
    floats y = result(
        scaling, load_some(scaling->source, start + column, is_half, left),
        load_some(scaling->factors, column, 0, left), load_some(scaling->addends, column, 0, left));
    store_some(y, scaling->target, start + column, is_half, left);
  }
}

INLINED void scale(const kernels_scaling *scaling) {
  int repeats = LANES % scaling->columns == 0;
  // Two copies of each loop, so that none asks for the type again and again.
  if (repeats && scaling->is_half) scale_line(scaling, 1);
  else if (repeats) scale_line(scaling, 0);
  else if (scaling->is_half) scale_rows(scaling, 1);
  else scale_rows(scaling, 0);
}

WIDE static void wide_scale(const kernels_scaling *scaling) { scale(scaling); }

NARROW static void narrow_scale(const kernels_scaling *scaling) { scale(scaling); }

void kernels_scale(const kernels_scaling *scaling, bool wide) {
  if (wide) wide_scale(scaling);
  else narrow_scale(scaling);
}
