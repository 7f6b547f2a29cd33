// Arithmetic of sizes.

#pragma once

#include <stdint.h>

#include "Vectors.h"

/// How many of a size hold a count.
INLINED int64_t up(int64_t count, int64_t size) { return (count + size - 1) / size; }

INLINED int64_t smaller(int64_t one, int64_t other) { return one < other ? one : other; }

INLINED int64_t larger(int64_t one, int64_t other) { return one > other ? one : other; }
