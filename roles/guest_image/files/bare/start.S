// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// Where processors begin: the first one at the reset vector, the others where the first one's SIPI sends them, which is
// the page .startup at 0xff000, where the chipset shows the ROM's end a second time. Both go on there in 16-bit mode,
// enter flat 32-bit mode without paging and interrupts, and call bare_main or bare_other.

#include "layout.h"

    .section .startup, "ax"
    .code16
    .globl startup
startup:
    cli
    lgdtl %cs:(gdt_pointer - startup)
    movl $0x11, %eax            // protected mode, caches on
    movl %eax, %cr0
    ljmpl $8, $flat

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    // 8: code, 4 GiB
    .quad 0x00cf93000000ffff    // 16: data, 4 GiB
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .text
    .code32
flat:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    cld
    movl $0x1b, %ecx            // IA32_APIC_BASE, whose bit 8 marks the first processor
    rdmsr
    testl $0x100, %eax
    jz other

    movl $bss_start, %edi       // memory survives a reset
    movl $bss_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl
    movl $stacks + STACK_BYTES, %esp
    call bare_main
halt:
    hlt
    jmp halt

other:
    movl $1, %eax
    lock xaddl %eax, others_started
    incl %eax                   // the others are 1, 2, ...
    cmpl $MAX_CPUS, %eax
    jae halt
    movl %eax, %esp
    incl %esp
    shll $STACK_SHIFT, %esp
    addl $stacks, %esp
    pushl $0                    // keeps the stack aligned
    pushl %eax
    call bare_other
    jmp halt

    .bss
    .globl stacks
    .balign 16
stacks:
    .skip MAX_CPUS * STACK_BYTES

    .section .reset, "ax"
    .code16
    ljmp $STARTUP_SEGMENT, $0

    .section .note.GNU-stack, "", @progbits
