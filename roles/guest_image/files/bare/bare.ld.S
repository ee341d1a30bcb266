// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// Linker script: code and constants in the ROM, variables in memory. Run through the C preprocessor.

#include "layout.h"

OUTPUT_FORMAT(elf32-i386)
ENTRY(startup)
SECTIONS
{
    . = ROM_START;
    .text : { *(.text .text.*) *(.rodata .rodata.*) }
    ASSERT(. <= ROM_START + STARTUP_OFFSET, "the code is too large for the ROM")
    . = ROM_START + STARTUP_OFFSET;
    .startup : { *(.startup) }
    . = ROM_START + RESET_OFFSET;
    .reset : { *(.reset) . = 16; }

    . = DATA_START;
    .bss (NOLOAD) : { bss_start = .; *(.bss .bss.* COMMON) . = ALIGN(4); bss_end = .; }
    ASSERT(bss_end <= DATA_END, "the variables are too large for the memory below the legacy devices")

    // There is nobody to copy initialised variables from the ROM.
    .data : { *(.data .data.*) }
    ASSERT(SIZEOF(.data) == 0, "initialise variables in the code")
    /DISCARD/ : { *(.comment) *(.note*) *(.eh_frame*) }
}
