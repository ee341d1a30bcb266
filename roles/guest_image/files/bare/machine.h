// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// The machine, which is QEMU's "pc": its size, its clock, its other processors, its console.

#ifndef MACHINE_H
#define MACHINE_H

#include <stdint.h>

uint32_t machine_memory_mb(void);
uint32_t machine_cpus(void);

// Prepares now_ns() and ticks().
void start_clock(void);
// Nanoseconds since the processor started, by its time stamp counter.
uint64_t now_ns(void);
// A number of nanoseconds as ticks of the time stamp counter.
uint64_t ticks(uint32_t ns);
// A number of 1024 ticks as nanoseconds.
uint64_t ticks_q_ns(uint64_t count);
// What a number of ticks is multiplied by to be units of 2 ns, times 2^32.
uint32_t ns_pairs_per_tick_q32(void);
// Something that is different after every boot.
uint32_t boot_number(void);

// Starts all other processors and returns how many there are, this one included. They call bare_other(number).
unsigned start_cpus(void);

// To the first serial port: for people, and slow.
void print(const char *text);

#endif
