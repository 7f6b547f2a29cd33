// Pixels of pictures whose channels lie in planes, one after the other.

#pragma once

#include <stdint.h>

/// The most channels that are put side by side.
enum { PLANE_CHANNELS = 4 };

/// The numbers of a pixel of so many channels in a panel.
int64_t plane_depth(int64_t channels);

/// Copies pixels that follow each other, from the first channel's plane and those behind it, in two
/// pieces.
void fill_from_planes(
    const float *source, int64_t plane, int64_t channels, uint16_t *to, int64_t count,
    int64_t piece_numbers);
