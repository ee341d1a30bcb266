// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// See port.h. Names as in the virtio specification.

#include "port.h"

#include <stdint.h>

#include "cpu.h"

enum { PCI_SELECT = 0xcf8, PCI_DATA = 0xcfc, VIRTIO_CONSOLE = 0x10031af4, IO_BASE = 0xc000 };
enum { GUEST_FEATURES = 4, QUEUE_PAGE = 8, QUEUE_SIZE = 12, QUEUE_SELECT = 14, QUEUE_NOTIFY = 16, STATUS = 18 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, MULTIPORT = 1 << 1 };
enum { CONTROL_OUT = 3, PORT_IN = 4, PORT_OUT = 5 };
enum { DEVICE_READY = 0, PORT_READY = 3, PORT_OPEN = 6, PORT_NUMBER = 1 };
// The most that QEMU gives a queue. How many a device has differs between its releases, and a driver cannot change it.
enum { RING_MAX = 1024, QUEUE_PAGES = 8 };
enum { DESC_WRITE = 2, NO_INTERRUPT = 1 };
enum { LINES = 32, COMMAND_BUFFERS = 4, COMMAND_BYTES = 128 };

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

struct ring {
    uint16_t flags;
    volatile uint16_t index;
    uint16_t entry[RING_MAX];
};

struct used_ring {
    uint16_t flags;
    volatile uint16_t index;
    struct {
        uint32_t id, length;
    } entry[RING_MAX];
};

// Where the device looks for the parts of a queue follows from its size.
struct queue {
    unsigned char memory[QUEUE_PAGES * 4096] __attribute__((aligned(4096)));
    struct descriptor *desc;
    struct ring *avail;
    struct used_ring *used;
    uint16_t number, size, used_before;
};

static struct queue control_out, port_in, port_out;
static char lines[LINES][LINE_BYTES_MAX];
static char received[COMMAND_BUFFERS][COMMAND_BYTES];
static char command[COMMAND_BYTES];
static uint32_t command_length;
static unsigned line_at;

static uint32_t pci_read(uint32_t slot, uint32_t offset)
{
    out32(PCI_SELECT, 0x80000000 | slot << 11 | offset);
    return in32(PCI_DATA);
}

static void pci_write(uint32_t slot, uint32_t offset, uint32_t value)
{
    out32(PCI_SELECT, 0x80000000 | slot << 11 | offset);
    out32(PCI_DATA, value);
}

static bool make_queue(struct queue *q, uint16_t number)
{
    q->number = number;
    out16(IO_BASE + QUEUE_SELECT, number);
    q->size = in16(IO_BASE + QUEUE_SIZE);
    if (q->size == 0 || q->size > RING_MAX)
        return false;
    q->desc = (struct descriptor *)q->memory;
    q->avail = (struct ring *)(q->memory + 16u * q->size);
    q->used = (struct used_ring *)(((uintptr_t)q->avail + 6 + 2u * q->size + 4095) & ~(uintptr_t)4095);
    q->avail->flags = NO_INTERRUPT;
    out32(IO_BASE + QUEUE_PAGE, (uint32_t)q->memory >> 12);
    return true;
}

static void notify(const struct queue *q) { out16(IO_BASE + QUEUE_NOTIFY, q->number); }

// Hands a buffer, which is descriptor `id`, to the device.
static void offer(struct queue *q, uint16_t id, const void *buffer, uint32_t length, uint16_t flags)
{
    q->desc[id] = (struct descriptor){(uintptr_t)buffer, length, flags, 0};
    q->avail->entry[q->avail->index & (q->size - 1)] = id;
    __asm__ volatile("" : : : "memory");
    q->avail->index++;
}

static void control(uint32_t port, uint16_t event)
{
    static struct {
        uint32_t port;
        uint16_t event, value;
    } message;
    message.port = port;
    message.event = event;
    message.value = 1;
    offer(&control_out, 0, &message, sizeof message, 0);
    notify(&control_out);
    while (control_out.used->index != control_out.avail->index)
        pause_cpu();
}

bool open_port(void)
{
    uint32_t slot = 0;
    while (pci_read(slot, 0) != VIRTIO_CONSOLE)
        if (++slot == 32)
            return false;
    pci_write(slot, 0x10, IO_BASE);
    pci_write(slot, 4, 5);  // I/O ports and bus mastering
    out8(IO_BASE + STATUS, 0);
    out8(IO_BASE + STATUS, ACKNOWLEDGE);
    out8(IO_BASE + STATUS, ACKNOWLEDGE | DRIVER);
    out32(IO_BASE + GUEST_FEATURES, MULTIPORT);
    if (!make_queue(&control_out, CONTROL_OUT) || !make_queue(&port_in, PORT_IN) || !make_queue(&port_out, PORT_OUT))
        return false;
    out8(IO_BASE + STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    for (uint16_t i = 0; i < COMMAND_BUFFERS; i++)
        offer(&port_in, i, received[i], COMMAND_BYTES, DESC_WRITE);
    control(0, DEVICE_READY);
    control(PORT_NUMBER, PORT_READY);
    control(PORT_NUMBER, PORT_OPEN);
    notify(&port_in);
    return true;
}

char *begin_line(bool wait)
{
    while ((uint16_t)(port_out.avail->index - port_out.used->index) >= LINES) {
        if (!wait)
            return 0;
        pause_cpu();
    }
    return lines[line_at];
}

void end_line(const char *end)
{
    const uint16_t id = (uint16_t)line_at;
    line_at = (line_at + 1) % LINES;  // the device takes lines in their order
    offer(&port_out, id, lines[id], (uint32_t)(end - lines[id]), 0);
    notify(&port_out);
}

// The next byte from the host; -1 if none has come.
static int next_byte(void)
{
    static uint32_t at;
    if (port_in.used_before == port_in.used->index)
        return -1;
    const uint16_t slot = port_in.used_before & (port_in.size - 1);
    const uint16_t id = (uint16_t)port_in.used->entry[slot].id;
    const int byte = (unsigned char)received[id][at];
    if (++at >= port_in.used->entry[slot].length) {
        at = 0;
        port_in.used_before++;
        offer(&port_in, id, received[id], COMMAND_BYTES, DESC_WRITE);
        notify(&port_in);
    }
    return byte;
}

const char *next_command(void)
{
    int byte;
    while ((byte = next_byte()) >= 0) {
        if (byte == '\n') {
            command[command_length] = '\0';
            command_length = 0;
            return command;
        }
        if (command_length + 1 < sizeof command)
            command[command_length++] = (char)byte;
    }
    return 0;
}
