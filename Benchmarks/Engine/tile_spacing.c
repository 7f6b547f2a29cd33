// What products of tiles take with empty instructions between the instructions for tiles, alone on
// a core and beside another hardware thread that multiplies too.
//
//   clang -O2 -o tile_spacing tile_spacing.c && ./tile_spacing 30
//
// For so many seconds all ways take turns. Turns in which the first way is near its fastest count
// as alone, those in which it takes twice that or more as beside a neighbour. To be sure of one,
// run it twice at a time, on processors that are one core (taskset).

#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MATRIX __attribute__((target("amx-tile,amx-bf16,avx512f"), noinline))

enum { STEPS = 1000, PRODUCTS = 12, MOST_TURNS = 100000 };

static uint8_t *memory;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

#define EMPTY2 "nop; nop;"
#define EMPTY4 EMPTY2 EMPTY2
#define EMPTY8 EMPTY4 EMPTY4
#define EMPTY16 EMPTY8 EMPTY8

#define READ(tile, place, after) \
  _tile_loadd(tile, memory + place * 1024, 64); \
  __asm__ volatile(after);
#define MULTIPLY(sum, one, other, after) \
  _tile_dpbf16ps(sum, one, other); \
  __asm__ volatile(after);

/// A step of FP32 as two pieces of BF16, in nanoseconds of one of its products.
#define WAY(name, R, M) \
  MATRIX static double name(void) { \
    double begin = now(); \
    for (int step = 0; step < STEPS; step++) { \
      READ(6, 0, R) READ(4, 1, R) MULTIPLY(0, 4, 6, M) READ(7, 2, R) MULTIPLY(1, 4, 7, M) \
      READ(5, 3, R) MULTIPLY(2, 5, 6, M) MULTIPLY(3, 5, 7, M) READ(4, 4, R) MULTIPLY(0, 4, 6, M) \
      MULTIPLY(1, 4, 7, M) READ(5, 5, R) MULTIPLY(2, 5, 6, M) MULTIPLY(3, 5, 7, M) \
      READ(6, 6, R) MULTIPLY(0, 4, 6, M) MULTIPLY(2, 5, 6, M) READ(7, 7, R) \
      MULTIPLY(1, 4, 7, M) MULTIPLY(3, 5, 7, M) \
    } \
    return (now() - begin) / STEPS / PRODUCTS; \
  }

WAY(none, "", "")
WAY(two_six, EMPTY2, EMPTY4 EMPTY2)
WAY(four_eight, EMPTY4, EMPTY8)
WAY(eight_sixteen, EMPTY8, EMPTY16)
WAY(none_sixteen, "", EMPTY16)
WAY(sixteen_none, EMPTY16, "")

static const struct {
  const char *name;
  double (*run)(void);
} ways[] = {
    {"none", none}, {"2 after a read, 6 after a product", two_six},
    {"4 and 8", four_eight}, {"8 and 16", eight_sixteen}, {"none and 16", none_sixteen},
    {"16 and none", sixteen_none}};

enum { WAYS = sizeof ways / sizeof *ways };

static int compare(const void *one, const void *other) {
  double a = *(const double *)one, b = *(const double *)other;
  return (a > b) - (a < b);
}

MATRIX int main(int count, char **words) {
  struct __attribute__((packed)) {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } form = {.palette = 1};
  for (int tile = 0; tile < 8; tile++) form.bytes[tile] = 64, form.rows[tile] = 16;
  if (count < 2 || syscall(SYS_arch_prctl, 0x1023, 18) != 0) {
    fprintf(stderr, "Usage: tile_spacing SECONDS, on a processor with AMX.\n");
    return 1;
  }
  _tile_loadconfig(&form);
  memory = aligned_alloc(4096, 8 * 1024);
  memset(memory, 0, 8 * 1024);
  double *turns = malloc(sizeof(double) * WAYS * MOST_TURNS), *column = malloc(8 * MOST_TURNS);
  int made = 0;
  double end = now() + atof(words[1]) * 1e9, fastest = 1e9;
  for (; made < MOST_TURNS && now() < end; made++)
    for (int way = 0; way < WAYS; way++) {
      double time = turns[made * WAYS + way] = ways[way].run();
      if (way == 0 && time < fastest) fastest = time;
    }
  for (int beside = 0; beside < 2; beside++)
    for (int way = 0; way < WAYS; way++) {
      int found = 0;
      for (int turn = 0; turn < made; turn++) {
        double first = turns[turn * WAYS] / fastest;
        if (beside ? first >= 2 : first <= 1.3) column[found++] = turns[turn * WAYS + way];
      }
      qsort(column, (size_t)found, 8, compare);
      printf("| %s | %s | %d | %.1f |\n", beside ? "beside" : "alone", ways[way].name, found,
          found ? column[found / 2] : 0);
    }
}
