// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// The workload of a guest under test (paper, section 4.1: "a stress test program ... controlled by a working window").
//
// Walks a working window of W MiB page by page, with one walker per CPU, each in its own slice. A visit hashes WORDS words
// of the page, over and over from its start if they are more than it has, and, if it is one of the WRITES percent that
// write, counts itself in the page's first word; the rest of the page is pseudo-random and never changes. So the expected
// content of every page is known at any time, and "verify" proves that migration lost none.
// Behind the window are IDLE_MB MiB that only "verify" touches, each page with a word of its own, so that none is empty:
// what a real guest has in use beside what it works on.
// The hash is one chain, in which each step waits for the one before. So it runs at its own latency, and leaves most of
// the core unused: a neighbour on the core's other hardware thread, whom the host cannot see, hardly slows it. A plain
// sum, which needs all of the core, was halved by one for seconds at a time.
//
// The protocol on the virtio-serial port, one message per line:
//   host to guest   start WINDOW_MB sequential|random|zipf WORDS WRITES IDLE_MB     verify     stop
//                   work WORDS                                 goes on with other work
//   guest to host   ready BOOT                                 every second while no window is walked and the system
//                                                              is otherwise idle, as after booting
//                   working WORDS                              the answer to "work": samples after it are of that work
//                   sample BOOT TIME_NS PAGES STALLS STALL_NS VISITS...
//                                                              every 100 ms; all cumulative, VISITS per walker
//                   times BOOT LONGEST_NS BIT:COUNT...
//                              after each sample: the longest visit since the last such line, and how many visits so far
//                              took 2^BIT ns and less than twice that. A visit ends where the next one begins
//                   verified PAGES BAD                         PAGES checked, BAD of them wrong
//                   error TEXT
// A stall is a first access to a page that took longer than STALL_NS_MIN: the guest's own view of a post-copy fault.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_TRIES = 500, ANSWER_PAUSE_US = 10000 };
enum { PAGE_BYTES = 4096, PAGE_WORDS = PAGE_BYTES / 8, MB_PAGES = (1 << 20) / PAGE_BYTES };
enum { MAX_WALKERS = 64, SAMPLE_MS = 100, STALL_NS_MIN = 50 * 1000 };
enum { TIME_BITS = 40 };  // a visit of 18 minutes and more counts as one of 9

enum pattern { SEQUENTIAL, RANDOM, ZIPF };
static const char *const PATTERNS[] = {"sequential", "random", "zipf"};

struct walker {
    pthread_t thread;
    uint64_t *slice;              // first word of the slice
    uint64_t first_page, pages;   // place and size of the slice in the window
    unsigned order_bits;          // smallest k with 2^k >= pages
    _Atomic uint64_t visits, stalls, stall_ns;
    _Atomic uint64_t times[TIME_BITS], longest_ns;
} __attribute__((aligned(64)));

static struct walker walkers[MAX_WALKERS];
static unsigned walker_count;
static uint64_t *window;             // and the idle pages behind it
static uint64_t window_pages, used_pages;
static enum pattern pattern;
static unsigned writes_percent;
static _Atomic unsigned work_words;  // words that a visit hashes
static volatile uint64_t sink;      // keeps the compiler from dropping the hash

static _Atomic bool leave;
static pthread_mutex_t pause_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pause_change = PTHREAD_COND_INITIALIZER;
static _Atomic bool pause_asked;
static unsigned paused;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// splitmix64: a bijective mix, so every word of every page is different
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t expected_word(uint64_t page, unsigned word)
{
    return mix(page * PAGE_WORDS + word);
}

// A fixed permutation of the slice's pages: one of 2^bits (each line is bijective), iterated until it falls in the slice.
static uint64_t scatter(const struct walker *w, uint64_t step)
{
    const uint64_t mask = (1ull << w->order_bits) - 1;
    const unsigned half = w->order_bits / 2 + 1;
    uint64_t x = step;
    do {
        for (unsigned round = 0; round < 3; round++) {
            x = (x * 0x9e3779b97f4a7c15u + 0x7f4a7c15u + round) & mask;
            x ^= x >> half;
        }
    } while (x >= w->pages);
    return x;
}

// The rank of a visit's page by Zipf's law in steps: of the ranks 1, 2 to 3, 4 to 7 ... each group is equally often
// visited, and its members are.
static uint64_t zipf_rank(const struct walker *w, uint64_t visit)
{
    for (uint64_t draw = mix(visit);; draw = mix(draw)) {
        const uint64_t group = 1ull << (draw >> 40) % (w->order_bits + 1);
        const uint64_t rank = group + (draw & (group - 1)) - 1;
        if (rank < w->pages)
            return rank;
    }
}

// The page of a visit, counted from the start. Sequential and random: any `pages` consecutive visits touch every page
// once, wherever migration catches the walker.
static uint64_t page_at(const struct walker *w, uint64_t visit)
{
    if (pattern == ZIPF)
        return scatter(w, zipf_rank(w, visit));
    const uint64_t step = visit % w->pages;
    return pattern == RANDOM ? scatter(w, step) : step;
}

// How many of a page's first `visits` visits write: WRITES of every hundred, evenly, each page with its own begin.
static uint64_t writes_of(uint64_t page, uint64_t visits)
{
    return (mix(page) % 100 + visits * writes_percent) / 100;
}

static bool is_write(const struct walker *w, uint64_t visit, uint64_t page)
{
    if (pattern == ZIPF)
        return mix(~visit) % 100 < writes_percent;
    const uint64_t sweep = visit / w->pages;
    return writes_of(page, sweep + 1) > writes_of(page, sweep);
}

static void wait_while_paused(void)
{
    pthread_mutex_lock(&pause_lock);
    paused++;
    pthread_cond_broadcast(&pause_change);
    while (pause_asked && !leave)
        pthread_cond_wait(&pause_change, &pause_lock);
    paused--;
    pthread_mutex_unlock(&pause_lock);
}

static void count_time(struct walker *w, uint64_t took_ns)
{
    const unsigned bit = 63 - (unsigned)__builtin_clzll(took_ns | 1);
    w->times[bit < TIME_BITS ? bit : TIME_BITS - 1]++;
    if (took_ns > w->longest_ns)
        w->longest_ns = took_ns;
}

static void *walk(void *argument)
{
    struct walker *w = argument;
    uint64_t begun = 0;  // of the visit before; 0: none that counts
    for (uint64_t visit = 0; !leave; visit++) {
        if (pause_asked) {
            wait_while_paused();
            begun = 0;
        }
        const uint64_t at = page_at(w, visit);
        volatile uint64_t *page = w->slice + at * PAGE_WORDS;
        const uint64_t before = now_ns();
        if (begun)
            count_time(w, before - begun);
        begun = before;
        uint64_t hash = page[0];
        const uint64_t waited = now_ns() - before;
        if (waited > STALL_NS_MIN) {
            w->stalls++;
            w->stall_ns += waited;
        }
        for (unsigned left = work_words; left > 0;) {
            const uint64_t *word = (const uint64_t *)page;
            const unsigned now = left < PAGE_WORDS ? left : PAGE_WORDS;
            for (unsigned i = 0; i < now; i++)
                hash = mix(hash ^ word[i]);
            atomic_signal_fence(memory_order_seq_cst);  // each pass reads again
            left -= now;
        }
        sink = hash;
        if (is_write(w, visit, at))
            page[0]++;
        w->visits++;
    }
    return NULL;
}

static void pause_walkers(void)
{
    pthread_mutex_lock(&pause_lock);
    pause_asked = true;
    while (paused < walker_count)
        pthread_cond_wait(&pause_change, &pause_lock);
    pthread_mutex_unlock(&pause_lock);
}

static void resume_walkers(void)
{
    pthread_mutex_lock(&pause_lock);
    pause_asked = false;
    pthread_cond_broadcast(&pause_change);
    pthread_mutex_unlock(&pause_lock);
}

// How often each page of a slice was written; to be freed. Where it does not follow from the number of visits, the walk
// is gone through again, without its pages.
static uint64_t *count_writes(const struct walker *w)
{
    uint64_t *writes = calloc(w->pages, sizeof *writes);
    if (!writes)
        abort();
    if (pattern == ZIPF) {
        for (uint64_t visit = 0; visit < w->visits; visit++)
            writes[page_at(w, visit)] += is_write(w, visit, 0);
        return writes;
    }
    const uint64_t sweeps = w->visits / w->pages, into = w->visits % w->pages;
    for (uint64_t step = 0; step < w->pages; step++) {
        const uint64_t at = page_at(w, step);
        writes[at] = writes_of(at, sweeps + (step < into));
    }
    return writes;
}

// Number of pages whose content does not match the walk so far.
static uint64_t count_bad_pages(void)
{
    uint64_t bad = 0;
    for (unsigned n = 0; n < walker_count; n++) {
        const struct walker *w = &walkers[n];
        uint64_t *writes = count_writes(w);
        for (uint64_t at = 0; at < w->pages; at++) {
            const uint64_t *page = w->slice + at * PAGE_WORDS;
            bool good = page[0] == writes[at];
            for (unsigned i = 1; i < PAGE_WORDS && good; i++)
                good = page[i] == expected_word(w->first_page + at, i);
            bad += !good;
        }
        free(writes);
    }
    for (uint64_t page = window_pages; page < used_pages; page++)
        bad += window[page * PAGE_WORDS] != expected_word(page, 0);
    return bad;
}

static void stop_walkers(void)
{
    if (!window)
        return;
    leave = true;
    resume_walkers();
    for (unsigned n = 0; n < walker_count; n++)
        pthread_join(walkers[n].thread, NULL);
    munmap(window, used_pages * PAGE_BYTES);
    window = NULL;
    walker_count = 0;
    leave = false;
}

// What was read while booting is no longer needed, and would only be migrated.
static void drop_caches(void)
{
    const int file = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return;
    sync();
    const ssize_t done = write(file, "3\n", 2);
    (void)done;
    close(file);
}

static const char *start_walkers(unsigned long window_mb, unsigned long idle_mb)
{
    drop_caches();
    const size_t bytes = (window_mb + idle_mb) << 20;
    window = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (window == MAP_FAILED) {
        window = NULL;
        return "no memory for the window and the idle pages";
    }
    window_pages = window_mb * MB_PAGES;
    used_pages = window_pages + idle_mb * MB_PAGES;
    for (uint64_t page = 0; page < window_pages; page++) {
        window[page * PAGE_WORDS] = 0;
        for (unsigned i = 1; i < PAGE_WORDS; i++)
            window[page * PAGE_WORDS + i] = expected_word(page, i);
    }
    for (uint64_t page = window_pages; page < used_pages; page++)
        window[page * PAGE_WORDS] = expected_word(page, 0);
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    walker_count = cpus < 1 ? 1 : cpus > MAX_WALKERS ? MAX_WALKERS : (unsigned)cpus;
    for (unsigned n = 0; n < walker_count; n++) {
        struct walker *w = &walkers[n];
        memset(w, 0, sizeof *w);
        w->first_page = window_pages * n / walker_count;
        w->pages = window_pages * (n + 1) / walker_count - w->first_page;
        w->slice = window + w->first_page * PAGE_WORDS;
        while ((1ull << w->order_bits) < w->pages)
            w->order_bits++;
        if (pthread_create(&w->thread, NULL, walk, w))
            abort();
    }
    return NULL;
}

// While no host listens, the port accepts nothing: the line is dropped, never waited for.
static bool say(int port, const char *line)
{
    return write(port, line, strlen(line)) > 0;
}

// Retries, because the guest's kernel may not have noticed yet that a host has begun to listen.
static void answer(int port, const char *line)
{
    for (int tries = 0; tries < ANSWER_TRIES && write(port, line, strlen(line)) < 0; tries++)
        usleep(ANSWER_PAUSE_US);
}

static int find_pattern(const char *name)
{
    for (int n = 0; n < (int)(sizeof PATTERNS / sizeof *PATTERNS); n++)
        if (strcmp(PATTERNS[n], name) == 0)
            return n;
    return -1;
}

static void obey(int port, const char *command)
{
    char name[16], line[96];
    unsigned long window_mb, idle_mb;
    unsigned words, writes;
    int order;
    if (sscanf(command, "start %lu %15s %u %u %lu", &window_mb, name, &words, &writes, &idle_mb) == 5 &&
        window_mb > 0 && writes <= 100 && (order = find_pattern(name)) >= 0) {
        stop_walkers();
        pattern = (enum pattern)order;
        work_words = words;
        writes_percent = writes;
        const char *error = start_walkers(window_mb, idle_mb);
        if (error) {
            snprintf(line, sizeof line, "error %s\n", error);
            answer(port, line);
        }
    } else if (sscanf(command, "work %u", &words) == 1 && window) {
        work_words = words;
        snprintf(line, sizeof line, "working %u\n", words);
        answer(port, line);
    } else if (strcmp(command, "verify") == 0 && window) {
        pause_walkers();
        const uint64_t bad = count_bad_pages();
        resume_walkers();
        snprintf(line, sizeof line, "verified %lu %lu\n", used_pages, bad);
        answer(port, line);
    } else if (strcmp(command, "stop") == 0) {
        stop_walkers();
    } else {
        answer(port, "error unknown command, or no window is walked\n");
    }
}

// Whether the processors were mostly idle since the last call.
static bool is_idle(void)
{
    static unsigned long long idle_before, all_before;
    unsigned long long value[8] = {0}, all = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (!file)
        return true;
    const int read = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", value, value + 1, value + 2, value + 3,
                            value + 4, value + 5, value + 6, value + 7);
    fclose(file);
    for (int i = 0; i < 8; i++)
        all += value[i];
    const unsigned long long idle = value[3] - idle_before, passed = all - all_before;
    idle_before = value[3];
    all_before = all;
    return read == 8 && idle * 10 >= passed * 9;
}

static void report_times(int port, const char *boot)
{
    char line[128 + TIME_BITS * 24];
    uint64_t longest[MAX_WALKERS], longest_ns = 0;
    for (unsigned n = 0; n < walker_count; n++)
        if ((longest[n] = walkers[n].longest_ns) > longest_ns)
            longest_ns = longest[n];
    int length = snprintf(line, sizeof line, "times %s %lu", boot, longest_ns);
    for (unsigned bit = 0; bit < TIME_BITS; bit++) {
        uint64_t count = 0;
        for (unsigned n = 0; n < walker_count; n++)
            count += walkers[n].times[bit];
        if (count)
            length += snprintf(line + length, sizeof line - (size_t)length, " %u:%lu", bit, count);
    }
    snprintf(line + length, sizeof line - (size_t)length, "\n");
    if (!say(port, line))
        return;  // the longest is told next time
    for (unsigned n = 0; n < walker_count; n++)
        atomic_compare_exchange_strong(&walkers[n].longest_ns, &longest[n], 0);
}

static void report(int port, const char *boot)
{
    static unsigned ticks;
    char line[192 + MAX_WALKERS * 21];
    if (window) {
        uint64_t visits[MAX_WALKERS], pages = 0, stalls = 0, stall_ns = 0;
        for (unsigned n = 0; n < walker_count; n++) {
            pages += visits[n] = walkers[n].visits;
            stalls += walkers[n].stalls;
            stall_ns += walkers[n].stall_ns;
        }
        int length = snprintf(line, sizeof line, "sample %s %lu %lu %lu %lu", boot, now_ns(), pages, stalls, stall_ns);
        for (unsigned n = 0; n < walker_count; n++)
            length += snprintf(line + length, sizeof line - (size_t)length, " %lu", visits[n]);
        snprintf(line + length, sizeof line - (size_t)length, "\n");
        say(port, line);
        report_times(port, boot);
    } else if (ticks++ % 10 == 0 && is_idle()) {
        snprintf(line, sizeof line, "ready %s\n", boot);
        say(port, line);
    }
}

static void read_boot_id(char *boot, size_t size)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (!file || !fgets(boot, (int)size, file))
        strcpy(boot, "unknown");
    boot[strcspn(boot, "\n")] = '\0';
    if (file)
        fclose(file);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/dev/virtio-ports/vcsp.telemetry";
    int port;
    while ((port = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0)
        usleep(100 * 1000);
    char boot[64];
    read_boot_id(boot, sizeof boot);
    mlockall(MCL_CURRENT);
    struct sched_param above = {.sched_priority = 10};  // telemetry takes precedence over the walkers
    sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &above);

    char command[128];
    size_t length = 0;
    uint64_t next = now_ns();
    for (;;) {
        const uint64_t now = now_ns();
        if (now >= next) {
            report(port, boot);
            next += SAMPLE_MS * 1000000ull;
            if (next < now)
                next = now + SAMPLE_MS * 1000000ull;
        }
        struct pollfd wait = {.fd = port, .events = POLLIN};
        const uint64_t left = next > now_ns() ? next - now_ns() : 0;
        if (poll(&wait, 1, (int)(left / 1000000u) + 1) <= 0)
            continue;
        if (wait.revents & POLLHUP) {  // nobody listens: poll returns at once every time, POLLIN set as well
            usleep((useconds_t)(left / 1000u) + 1);
            continue;
        }
        char byte;
        while (read(port, &byte, 1) == 1) {
            if (byte == '\n') {
                command[length] = '\0';
                obey(port, command);
                length = 0;
            } else if (length + 1 < sizeof command) {
                command[length++] = byte;
            }
        }
    }
}
