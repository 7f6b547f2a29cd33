// Vectors for what goes along with matrix units: every processor that has these rounds to BF16 in
// one instruction. Everything until the end of the file that includes this is compiled for such.

#pragma once

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma"))), \
    apply_to = function)
#define ROUNDS_AT_ONCE
#endif

#include "Vectors.h"
