// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// Where things are, for the C compiler, the assembler and the linker.

#define ROM_BYTES 0x10000
#define ROM_START 0xffff0000        // the last 64 KiB below 4 GiB
#define STARTUP_OFFSET 0xf000       // in the ROM, of the page where processors begin
#define STARTUP_SEGMENT 0xff00      // the same page below 1 MiB, as a real-mode segment
#define RESET_OFFSET 0xfff0

#define DATA_START 0x10000          // variables and stacks, below the legacy devices at 0xa0000
#define DATA_END 0xa0000
#define COUNTS_START 0x100000       // of writes to each page of the window, where the walk does not tell
#define WINDOW_START 0x400000       // all memory above is for the window and the idle pages behind it

#define MAX_CPUS 16
#define STACK_SHIFT 13
#define STACK_BYTES (1 << STACK_SHIFT)
