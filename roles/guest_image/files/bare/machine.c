// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// See machine.h.

#include "machine.h"

#include "cpu.h"
#include "layout.h"

enum { FW_CFG_SELECT = 0x510, FW_CFG_DATA = 0x511, FW_CFG_RAM_SIZE = 3, FW_CFG_CPUS = 5 };
enum { CMOS_SELECT = 0x70, CMOS_DATA = 0x71, COM1 = 0x3f8 };
enum { PCI_SELECT = 0xcf8, PCI_DATA = 0xcfc, POWER_FUNCTION = 0x80000000 | 1 << 11 | 3 << 8 };
// The power management timer of the PIIX4, 24 bits of it everywhere.
enum { PM_BASE = 0x600, PM_TIMER = PM_BASE + 8, PM_TIMER_HZ = 3579545, PM_TIMER_MASK = 0xffffff };
enum { CALIBRATION_STEPS = PM_TIMER_HZ / 20, BRACKETS = 16 };

static uint64_t fw_cfg(uint16_t key, unsigned bytes)
{
    uint64_t value = 0;
    out16(FW_CFG_SELECT, key);
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)in8(FW_CFG_DATA) << 8 * i;
    return value;
}

uint32_t machine_memory_mb(void) { return (uint32_t)(fw_cfg(FW_CFG_RAM_SIZE, 8) >> 20); }

uint32_t machine_cpus(void) { return (uint32_t)fw_cfg(FW_CFG_CPUS, 2); }

// -- clock -----------------------------------------------------------------------------------------------------------

static uint32_t ticks_per_us_q16, ns_per_tick_q24;  // fixed point

struct reading {
    uint64_t tsc;
    uint32_t timer;
};

// Both clocks at once: of several tries, the one that the host interrupted least.
static struct reading read_clocks(void)
{
    struct reading best = {0};
    uint64_t shortest = UINT64_MAX;
    for (unsigned i = 0; i < BRACKETS; i++) {
        const uint64_t before = tsc();
        const uint32_t timer = in32(PM_TIMER);
        const uint64_t took = tsc() - before;
        if (took < shortest) {
            shortest = took;
            best = (struct reading){before + took / 2, timer};
        }
    }
    return best;
}

void start_clock(void)
{
    out32(PCI_SELECT, POWER_FUNCTION | 0x40);
    out32(PCI_DATA, PM_BASE | 1);
    out32(PCI_SELECT, POWER_FUNCTION | 0x80);
    out8(PCI_DATA, 1);

    const struct reading first = read_clocks();
    while (((in32(PM_TIMER) - first.timer) & PM_TIMER_MASK) < CALIBRATION_STEPS)
        ;
    const struct reading last = read_clocks();
    const uint32_t steps = (last.timer - first.timer) & PM_TIMER_MASK;
    const uint32_t passed = (uint32_t)(last.tsc - first.tsc);
    uint32_t rest;
    // steps * 1e6 / PM_TIMER_HZ us, in 1/16 us to keep the precision
    const uint32_t us_q4 = divide((uint64_t)steps * 16000000u, PM_TIMER_HZ, &rest);
    ticks_per_us_q16 = divide((uint64_t)passed << 20, us_q4, &rest);
    ns_per_tick_q24 = divide((uint64_t)us_q4 * 1000u << 20, passed, &rest);
}

// Below 2^56 ticks, which is a year.
static uint64_t to_ns(uint64_t count)
{
    return ((count >> 32) * ns_per_tick_q24 << 8) + ((count & UINT32_MAX) * ns_per_tick_q24 >> 24);
}

uint64_t now_ns(void) { return to_ns(tsc()); }

uint64_t ticks_q_ns(uint64_t count) { return to_ns(count << 10); }

// It fits in 32 bits with counters of more than 500 MHz, as all are.
uint32_t ns_pairs_per_tick_q32(void) { return ns_per_tick_q24 << 7; }

uint64_t ticks(uint32_t ns)
{
    uint32_t rest;
    return divide((uint64_t)ns * ticks_per_us_q16, 1000u << 16, &rest);
}

uint32_t boot_number(void)
{
    uint32_t number = 0;
    for (uint8_t i = 0; i < 10; i++) {  // the real-time clock, seconds to years
        out8(CMOS_SELECT, i);
        number = number * 31 + in8(CMOS_DATA);
    }
    return number * 0x9e3779b1u + (uint32_t)tsc();
}

// -- processors ------------------------------------------------------------------------------------------------------

volatile uint32_t others_started;
static volatile uint32_t *const apic = (volatile uint32_t *)0xfee00000;

static void wait_us(uint32_t us)
{
    const uint64_t end = tsc() + ticks(us * 1000);
    while (tsc() < end)
        pause_cpu();
}

unsigned start_cpus(void)
{
    uint32_t count = machine_cpus();
    if (count > MAX_CPUS)
        count = MAX_CPUS;
    if (count > 1) {
        apic[0xf0 / 4] |= 0x100;       // enabled
        apic[0x300 / 4] = 0x000c4500;  // INIT to all others
        wait_us(10000);
        apic[0x300 / 4] = 0x000c4600 | STARTUP_SEGMENT >> 8;  // SIPI
        while (others_started < count - 1)
            pause_cpu();
    }
    return count;
}

// -- console ---------------------------------------------------------------------------------------------------------

void print(const char *text)
{
    for (; *text; text++)
        out8(COM1, (uint8_t)*text);
}
