// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// The first port of a virtio-serial device, by the legacy interface of virtio-pci.
// Lines go out with one exit to the host each, and commands come in with none: their arrival is seen in memory.

#ifndef PORT_H
#define PORT_H

#include <stdbool.h>

enum { LINE_BYTES_MAX = 768 };

// False if there is no such device.
bool open_port(void);
// A buffer for the next line; waits for one if `wait`, else null when the host reads none of them.
char *begin_line(bool wait);
// Sends the line that was written to the buffer, up to `end`.
void end_line(const char *end);
// The next command, without its line end; null if none has come. Valid until the next call.
const char *next_command(void);

#endif
