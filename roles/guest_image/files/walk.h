// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// The bare guest's walk over a working window: the patterns of workload.c in 32 bits, since each instruction may cost a
// microsecond.

#ifndef WALK_H
#define WALK_H

#include <stdbool.h>
#include <stdint.h>

enum { PAGE_BYTES = 4096 };

// A first access to a page that takes longer is a stall: the guest's own view of a post-copy fault.
enum { STALL_NS_MIN = 50 * 1000, SAMPLE_MS = 100 };

enum pattern { SEQUENTIAL, RANDOM, ZIPF };

// A slice of the window, walked by one processor.
struct slice {
    uint32_t first_page, pages;  // its place in the window, and its size
    unsigned order_bits;         // smallest k with 2^k >= pages
    enum pattern pattern;
    unsigned writes_percent;     // visits that write
};

// Slice n of count; 32 bits hold the product, for less than 2^32 pages of all slices.
static inline struct slice make_slice(uint32_t window_pages, unsigned n, unsigned count, enum pattern pattern,
                                      unsigned writes_percent)
{
    struct slice s = {.pattern = pattern, .writes_percent = writes_percent};
    s.first_page = window_pages / count * n + window_pages % count * n / count;
    s.pages = window_pages / count * (n + 1) + window_pages % count * (n + 1) / count - s.first_page;
    while ((1u << s.order_bits) < s.pages)
        s.order_bits++;
    return s;
}

// A bijective mix of 32 bits (C. Wellons, lowbias32).
static inline uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

// A fixed permutation of the slice's pages: one of 2^order_bits (each line is bijective), iterated until it falls in the
// slice.
static inline uint32_t scatter(const struct slice *s, uint32_t step)
{
    const uint32_t mask = (1u << s->order_bits) - 1;
    const unsigned half = s->order_bits / 2 + 1;
    uint32_t x = step;
    do {
#pragma GCC unroll 3
        for (unsigned round = 0; round < 3; round++) {
            x = (x * 0x7f4a7c15u + 0x7f4a7c15u + round) & mask;
            x ^= x >> half;
        }
    } while (x >= s->pages);
    return x;
}

// The rank of a visit's page by Zipf's law in steps: of the ranks 1, 2 to 3, 4 to 7 ... each group is equally often
// visited, and its members are.
static inline uint32_t zipf_rank(const struct slice *s, uint32_t visit)
{
    for (uint32_t draw = mix(visit);; draw = mix(draw + 1)) {
        const uint32_t group = 1u << (draw >> 24) % (s->order_bits + 1);
        const uint32_t rank = group + (draw & (group - 1)) - 1;
        if (rank < s->pages)
            return rank;
    }
}

// The page of a visit, which is a step of a sweep of as many visits as there are pages. Sequential and random: any
// `pages` consecutive visits touch every page once, wherever migration catches the walker.
static inline uint32_t page_at(const struct slice *s, uint32_t sweep, uint32_t step)
{
    switch (s->pattern) {
    case ZIPF:
        return scatter(s, zipf_rank(s, sweep * s->pages + step));
    case RANDOM:
        return scatter(s, step);
    default:
        return step;
    }
}

// How many of a page's first `visits` visits write, if each sweep visits it once: evenly, each page with its own begin.
static inline uint32_t writes_of(const struct slice *s, uint32_t page, uint32_t visits)
{
    if (s->writes_percent == 100)
        return visits;
    const uint32_t hundreds = visits / 100, rest = visits % 100;
    return hundreds * s->writes_percent + (mix(page) % 100 + rest * s->writes_percent) / 100;
}

static inline bool is_write(const struct slice *s, uint32_t sweep, uint32_t step, uint32_t page)
{
    if (s->writes_percent == 100)
        return true;
    if (s->pattern == ZIPF)
        return mix(~(sweep * s->pages + step)) % 100 < s->writes_percent;
    return writes_of(s, page, sweep + 1) > writes_of(s, page, sweep);
}

#endif
