// The most that one core computes: independent chains of fused multiply-adds on vectors of 64 bytes.
//
//     cc -O3 -march=native -o peak peak.c && ./peak      prints GFLOP/s of fp32, the best of 20 turns
#include <stdio.h>
#include <time.h>

typedef float vector __attribute__((vector_size(64)));

enum { CHAINS = 12, STEPS = 2000000 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(void) {
  double best = 0;
  float sink = 0;
  for (int turn = 0; turn < 20; turn++) {
    vector sums[CHAINS], factor, addend;
    for (int lane = 0; lane < 16; lane++) factor[lane] = 0.999f, addend[lane] = 0.001f;
    for (int chain = 0; chain < CHAINS; chain++) sums[chain] = factor * (float)(chain + turn);
    double begin = now();
    for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 12
      for (int chain = 0; chain < CHAINS; chain++) sums[chain] = sums[chain] * factor + addend;
    double seconds = now() - begin;
    for (int chain = 0; chain < CHAINS; chain++) sink += sums[chain][0];
    double rate = 2.0 * 16 * CHAINS * STEPS / seconds * 1e-9;
    if (rate > best) best = rate;
  }
  fprintf(stderr, "%g\n", sink);
  printf("%.1f\n", best);
  return 0;
}
