// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// The walk over a working window, the same in every guest.

#ifndef WALK_H
#define WALK_H

#include <stdbool.h>
#include <stdint.h>

enum { PAGE_BYTES = 4096 };

// A first access to a page that takes longer is a stall: the guest's own view of a post-copy fault.
enum { STALL_NS_MIN = 50 * 1000, SAMPLE_MS = 100 };

// A slice of the window, walked by one processor.
struct slice {
    uint32_t first_page, pages;   // its place in the window, and its size
    uint32_t order_mask;          // smallest 2^k - 1 with 2^k >= pages
    unsigned order_half;
    bool random;
};

// Slice n of count; 32 bits hold the product, for less than 2^32 pages of all slices.
static inline struct slice make_slice(uint32_t window_pages, unsigned n, unsigned count, bool random)
{
    struct slice s = {.random = random};
    unsigned bits = 0;
    s.first_page = window_pages / count * n + window_pages % count * n / count;
    s.pages = window_pages / count * (n + 1) + window_pages % count * (n + 1) / count - s.first_page;
    while ((1u << bits) < s.pages)
        bits++;
    s.order_mask = (1u << bits) - 1;
    s.order_half = bits / 2 + 1;
    return s;
}

// The page visited at a step of a sweep. Random: a fixed permutation of 2^bits (each line is bijective), iterated until
// it falls in the slice. Any `pages` consecutive visits touch every page once, wherever migration catches the walker.
static inline uint32_t page_at(const struct slice *s, uint32_t step)
{
    if (!s->random)
        return step;
    uint32_t x = step;
    do {
#pragma GCC unroll 3
        for (unsigned round = 0; round < 3; round++) {
            x = (x * 0x7f4a7c15u + 0x7f4a7c15u + round) & s->order_mask;
            x ^= x >> s->order_half;
        }
    } while (x >= s->pages);
    return x;
}

#endif
