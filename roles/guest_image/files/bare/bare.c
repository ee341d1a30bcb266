// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// A guest without an operating system: a ROM that walks a working window as workload.c does in a Debian guest, and speaks
// its protocol (see there). It uses nothing that makes a virtual machine hard to run: no paging, no interrupts, no
// floating point. So it runs where /dev/kvm has no hardware behind it and emulates each instruction.
//
// What differs from workload.c, because each instruction may cost a microsecond: a page holds its writes and, in each of
// its sixteen parts, a tag of its own; the rest of it is zero. A visit hashes nothing, but lasts as long as that would take
// a processor that is emulated: such instructions are too few, and their speed changes too much, to make a rate of. Its
// time is from when the page before had come, and one of 2^32 ticks or more counts as one of that, but for the longest.
// By Zipf's law, writes are counted beside the window, too, instead of going through the walk again.

#include <stdbool.h>
#include <stdint.h>

#include "cpu.h"
#include "layout.h"
#include "machine.h"
#include "port.h"
#include "text.h"
#include "walk.h"

enum { PAGE_WORDS = PAGE_BYTES / 4, MB_PAGES = (1 << 20) / PAGE_BYTES };
enum { TIME_BITS = 32 };
enum { WORD_NS = 5, MOST_WORDS = 1 << 27 };
enum { TAGS = 16, TAG_STEP = PAGE_WORDS / TAGS, FIRST_TAG = 1 };

struct walker {
    struct slice slice;
    uint32_t sweep, step;         // of its walk, while it is paused
    uint32_t stalls, stall_q;     // since it began; stall_q in units of 1024 ticks; each wraps around
    uint32_t times[TIME_BITS];    // visits since it began by the power of two that their time in 2 ns reached; wrap, too
    uint32_t longest, longest_q;  // visit since the last report: in ticks and, if it took 2^32, in 1024 ticks
    volatile bool walks;
    uint64_t all_stalls, all_stall_q;  // without wrapping, by the first processor
    uint64_t all_times[TIME_BITS];
} __attribute__((aligned(64)));

static struct walker walkers[MAX_CPUS];
static unsigned cpus;
static uint32_t window_pages;     // 0: no window is walked
static uint32_t used_pages;       // the window and, behind it, idle pages with a tag each, which only verify touches
static uint32_t visit_ticks;      // that a visit lasts, or longer
static volatile bool walk_asked;  // of the processors
static uint32_t stall_ticks, ns_pairs_per_tick;
static uint64_t sample_ticks, next_sample;
static uint32_t boot;

static uint32_t *const counts = (uint32_t *)COUNTS_START;

static uint32_t *page_address(uint32_t page) { return (uint32_t *)(WINDOW_START + page * PAGE_BYTES); }

// Different for every page, and never 0.
static uint32_t page_tag(uint32_t page) { return (page + 1) * 0x9e3779b1u; }

static void fill_memory(void)
{
    for (uint32_t page = 0; page < window_pages; page++) {
        uint32_t *const words = page_address(page);
        const uint32_t tag = page_tag(page);
        words[0] = 0;
        counts[page] = 0;
#pragma GCC unroll 16
        for (unsigned i = 0; i < TAGS; i++)
            words[FIRST_TAG + i * TAG_STEP] = tag;
    }
    for (uint32_t page = window_pages; page < used_pages; page++)
        page_address(page)[FIRST_TAG] = page_tag(page);
}

// Number of pages whose content does not match the walk so far.
static uint32_t count_bad_pages(void)
{
    uint32_t bad = 0;
    for (unsigned n = 0; n < cpus; n++) {
        const struct walker *w = &walkers[n];
        const bool is_zipf = w->slice.pattern == ZIPF;
        for (uint32_t step = 0; step < w->slice.pages; step++) {
            const uint32_t at = is_zipf ? step : page_at(&w->slice, 0, step), page = w->slice.first_page + at;
            const uint32_t *const words = page_address(page), tag = page_tag(page);
            const uint32_t writes = is_zipf ? counts[page] : writes_of(&w->slice, at, w->sweep + (step < w->step));
            uint32_t difference = words[0] ^ writes;
#pragma GCC unroll 16
            for (unsigned i = 0; i < TAGS; i++)
                difference |= words[FIRST_TAG + i * TAG_STEP] ^ tag;
            bad += difference != 0;
        }
    }
    for (uint32_t page = window_pages; page < used_pages; page++)
        bad += page_address(page)[FIRST_TAG] != page_tag(page);
    return bad;
}

// -- telemetry -------------------------------------------------------------------------------------------------------

static uint64_t extend(uint64_t all, uint32_t wrapped) { return all + (uint32_t)(wrapped - (uint32_t)all); }

// Every visit is in one of them.
static uint64_t count_visits(struct walker *w)
{
    uint64_t visits = 0;
    for (unsigned bit = 0; bit < TIME_BITS; bit++)
        visits += w->all_times[bit] = extend(w->all_times[bit], w->times[bit]);
    return visits;
}

static void report_sample(void)
{
    uint64_t visits = 0, visits_of[MAX_CPUS], stalls = 0, stall_q = 0;
    for (unsigned n = 0; n < cpus; n++) {
        struct walker *w = &walkers[n];
        visits += visits_of[n] = count_visits(w);
        stalls += w->all_stalls = extend(w->all_stalls, w->stalls);
        stall_q += w->all_stall_q = extend(w->all_stall_q, w->stall_q);
    }
    char *const line = begin_line(false);
    if (!line)
        return;
    char *at = put_hex(put_text(line, "sample "), boot);
    const uint64_t numbers[] = {now_ns(), visits, stalls, ticks_q_ns(stall_q)};
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        at = put_number(put_text(at, " "), numbers[i]);
    for (unsigned n = 0; n < cpus; n++)
        at = put_number(put_text(at, " "), visits_of[n]);
    end_line(put_text(at, "\n"));
}

static void report_times(void)
{
    char *const line = begin_line(false);
    if (!line)
        return;  // the longest is told next time
    uint32_t longest_q = 0;
    for (unsigned n = 0; n < cpus; n++) {
        const uint32_t q[] = {__sync_lock_test_and_set(&walkers[n].longest, 0) >> 10,
                              __sync_lock_test_and_set(&walkers[n].longest_q, 0)};
        for (unsigned i = 0; i < sizeof q / sizeof *q; i++)
            if (q[i] > longest_q)
                longest_q = q[i];
    }
    char *at = put_number(put_text(put_hex(put_text(line, "times "), boot), " "), ticks_q_ns(longest_q));
    for (unsigned bit = 0; bit < TIME_BITS; bit++) {
        uint64_t count = 0;
        for (unsigned n = 0; n < cpus; n++)
            count += walkers[n].all_times[bit];
        if (count)
            at = put_number(put_text(put_number(put_text(at, " "), bit + 1), ":"), count);
    }
    end_line(put_text(at, "\n"));
}

static void report_ready(void)
{
    char *const line = begin_line(false);
    if (line)
        end_line(put_text(put_hex(put_text(line, "ready "), boot), "\n"));
}

static void answer(const char *text)
{
    end_line(put_text(begin_line(true), text));
}

static bool is_time_for_sample(void)
{
    const uint64_t now = tsc();
    if (now < next_sample)
        return false;
    next_sample += sample_ticks;
    if (next_sample < now)
        next_sample = now + sample_ticks;
    return true;
}

// -- walk ------------------------------------------------------------------------------------------------------------

// Whether it took 2^32 ticks or more.
static bool note_stall(struct walker *w, uint64_t waited)
{
    const uint32_t waited_q = (uint32_t)(waited >> 10);
    w->stalls++;
    w->stall_q += waited_q;
    if (waited >> 32 == 0)
        return false;
    if (waited_q > w->longest_q)
        w->longest_q = waited_q;
    return true;
}

// A visit ends where the next page has come.
static inline void count_time(struct walker *w, uint32_t took)
{
    const uint32_t ns_pairs = (uint32_t)((uint64_t)took * ns_pairs_per_tick >> 32);
    increment(&w->times[__builtin_ia32_bsrsi((int)(ns_pairs | 1))]);
    if (took > w->longest)
        w->longest = took;
}

// Walks until it is asked to pause or, on the first processor, until it is time for a sample. Made for each case, so that
// a visit takes few instructions.
static inline __attribute__((always_inline)) void walk_so(struct walker *w, bool first, enum pattern pattern,
                                                          bool writes_always)
{
    const struct slice slice = {w->slice.first_page, w->slice.pages, w->slice.order_bits, pattern,
                                writes_always ? 100 : w->slice.writes_percent};
    uint32_t step = w->step, begun = (uint32_t)tsc(), now;
    do {
        const uint32_t at = page_at(&slice, w->sweep, step);
        volatile uint32_t *const page = page_address(slice.first_page + at);
        uint64_t before;
        do
            before = tsc();
        while ((uint32_t)before - begun < visit_ticks);
        (void)*page;
        const uint64_t after = tsc();
        now = (uint32_t)after;
        uint32_t took = now - begun;
        begun = now;
        // One in ten thousand stalls of more than 2^32 ticks, a second or two, looks short to 32 bits.
        if (now - (uint32_t)before > stall_ticks && note_stall(w, after - before))
            took = UINT32_MAX;
        count_time(w, took);
        if (is_write(&slice, w->sweep, step, at)) {
            increment(page);
            if (pattern == ZIPF)
                increment(&counts[slice.first_page + at]);
        }
        if (++step == slice.pages) {
            step = 0;
            w->sweep++;
        }
    } while (first ? (int32_t)(now - (uint32_t)next_sample) < 0 : walk_asked);
    w->step = step;
}

static void walk(struct walker *w, bool first)
{
    const bool always = w->slice.writes_percent == 100;
    switch (w->slice.pattern) {
    case ZIPF:
        first ? walk_so(w, true, ZIPF, false) : walk_so(w, false, ZIPF, false);
        break;
    case RANDOM:
        if (always)
            first ? walk_so(w, true, RANDOM, true) : walk_so(w, false, RANDOM, true);
        else
            first ? walk_so(w, true, RANDOM, false) : walk_so(w, false, RANDOM, false);
        break;
    default:
        if (always)
            first ? walk_so(w, true, SEQUENTIAL, true) : walk_so(w, false, SEQUENTIAL, true);
        else
            first ? walk_so(w, true, SEQUENTIAL, false) : walk_so(w, false, SEQUENTIAL, false);
    }
}

void bare_other(unsigned number)
{
    struct walker *const w = &walkers[number];
    for (;;) {
        w->walks = true;
        __sync_synchronize();  // who asks for a pause sees that it walks, or it sees that it is to pause
        if (walk_asked)
            walk(w, false);
        w->walks = false;
        pause_cpu();
    }
}

static void pause_walkers(void)
{
    walk_asked = false;
    __sync_synchronize();
    for (unsigned n = 1; n < cpus; n++)
        while (walkers[n].walks)
            pause_cpu();
}

static const char *start_walkers(uint32_t window_mb, enum pattern pattern, uint32_t words, uint32_t writes_percent,
                                 uint32_t idle_mb)
{
    pause_walkers();
    window_pages = 0;
    const uint32_t room_mb = machine_memory_mb() - (WINDOW_START >> 20);
    if (window_mb == 0 || window_mb > room_mb || idle_mb > room_mb - window_mb)
        return "error no memory for the window and the idle pages\n";
    if (words > MOST_WORDS)
        return "error so much work takes a visit too long\n";
    window_pages = window_mb * MB_PAGES;
    used_pages = window_pages + idle_mb * MB_PAGES;
    visit_ticks = (uint32_t)ticks(words * WORD_NS);
    fill_memory();
    for (unsigned n = 0; n < cpus; n++)
        walkers[n] = (struct walker){.slice = make_slice(window_pages, n, cpus, pattern, writes_percent)};
    walk_asked = true;
    return 0;
}

static void verify(void)
{
    pause_walkers();
    const uint32_t bad = count_bad_pages();
    walk_asked = true;
    char *const line = begin_line(true);
    char *at = put_number(put_text(line, "verified "), used_pages);
    end_line(put_text(put_number(put_text(at, " "), bad), "\n"));
}

static void work(uint32_t words)
{
    pause_walkers();
    visit_ticks = (uint32_t)ticks(words * WORD_NS);
    walk_asked = true;
    end_line(put_text(put_number(put_text(begin_line(true), "working "), words), "\n"));
}

static bool take_pattern(const char **command, enum pattern *pattern)
{
    static const char names[][12] = {"sequential", "random", "zipf"};
    for (unsigned n = 0; n < sizeof names / sizeof *names; n++)
        if (take_word(command, names[n])) {
            *pattern = (enum pattern)n;
            return true;
        }
    return false;
}

static void obey(const char *command)
{
    uint32_t window_mb, words, writes_percent, idle_mb;
    enum pattern pattern;
    if (take_word(&command, "start")) {
        if (take_number(&command, &window_mb) && take_pattern(&command, &pattern) && take_number(&command, &words) &&
            take_number(&command, &writes_percent) && writes_percent <= 100 && take_number(&command, &idle_mb)) {
            const char *error = start_walkers(window_mb, pattern, words, writes_percent, idle_mb);
            if (error)
                answer(error);
            return;
        }
    } else if (take_word(&command, "work") && take_number(&command, &words) && words <= MOST_WORDS && window_pages) {
        work(words);
        return;
    } else if (take_word(&command, "verify") && window_pages) {
        verify();
        return;
    } else if (take_word(&command, "stop")) {
        pause_walkers();
        window_pages = 0;
        return;
    }
    answer("error unknown command, or no window is walked\n");
}

void bare_main(void)
{
    start_clock();
    boot = boot_number();
    stall_ticks = (uint32_t)ticks(STALL_NS_MIN);
    ns_pairs_per_tick = ns_pairs_per_tick_q32();
    sample_ticks = ticks(SAMPLE_MS * 1000000u);
    cpus = start_cpus();
    if (!open_port()) {
        print("vcsp: no virtio-serial device that this guest knows\n");
        return;
    }
    print("vcsp: ready\n");
    for (unsigned idle = 0;;) {
        const char *const command = next_command();
        if (command)
            obey(command);
        if (walk_asked)
            walk(&walkers[0], true);
        if (!is_time_for_sample())
            pause_cpu();
        else if (walk_asked) {
            report_sample();
            report_times();
        } else if (idle++ % 2 == 0)  // each trial waits for it
            report_ready();
    }
}
