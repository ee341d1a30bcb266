// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// The processor's instructions that C has no words for.

#ifndef CPU_H
#define CPU_H

#include <stdint.h>

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint16_t in16(uint16_t port)
{
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t in32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t tsc(void)
{
    uint64_t value;
    __asm__ volatile("rdtsc" : "=A"(value));
    return value;
}

static inline void pause_cpu(void) { __asm__ volatile("pause" : : : "memory"); }

// 64 by 32 bits; the quotient must fit in 32.
static inline uint32_t divide(uint64_t dividend, uint32_t divisor, uint32_t *rest)
{
    uint32_t quotient;
    __asm__("divl %4" : "=a"(quotient), "=d"(*rest) : "0"((uint32_t)dividend), "1"((uint32_t)(dividend >> 32)),
            "rm"(divisor));
    return quotient;
}

// One instruction, where volatile alone would make three.
static inline void increment(volatile uint32_t *word) { __asm__ volatile("incl %0" : "+m"(*word)); }

#endif
