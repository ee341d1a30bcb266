/*
 * Copyright: vcsp.testbed contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 *
 * wire SETTINGS DEVICE NETNS NETNS: the wire between two hosts.
 *
 * Makes a TUN device in each of two network namespaces and carries packets between them. Each packet occupies its
 * direction of the wire for its own length at the wire's rate, and arrives when its last bit does, a delay later. The
 * queue before the wire is the sender's: its queueing discipline releases packets at the same rate.
 *
 * SETTINGS is a file of two numbers: the rate in bit/s and the delay in ns. They are read again upon SIGHUP. Both
 * devices exist as long as this process does.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    PACKET_MAX = 65536 + sizeof(struct virtio_net_hdr),
    BATCH = 32,                   /* packets taken from one side before the other has its turn */
    WAKE_MAX_NS = 50 * 1000,      /* a longer wake-up was an accident, and is no habit to allow for */
    EARLY_NS = 4 * 1000,          /* packets this near to each other arrive together */
    WAKE_SHARE = 16,              /* weight of what was known about wake-ups, against the newest of them */
};
/* What may be under way at once: ten times what 10 Gbit/s and 20 ms need. Only what is used takes memory. */
static const size_t FLIGHT_BYTES = 1UL << 28;

/* The wire is this little faster than the queue before it, so that packets wait there, and not here. */
static const double DRAIN = 0.98;

struct packet { /* followed by its bytes; both are aligned to eight */
    int64_t due_ns;
    uint64_t length;
};

struct direction {
    int from, to;
    int64_t free_ns; /* when the wire has taken the last bit of the packet before */
    unsigned char *flight;
    size_t head, tail, end; /* first packet, first free byte, and where the packets go on at 0, if they do */
};

static volatile sig_atomic_t changed = 1;
static double ns_per_byte;
static int64_t delay_ns;
static int64_t wake_ns; /* what a wake-up takes, as observed: it is part of the delay, not added to it */

static void note_change(int signal) { (void)signal; changed = 1; }

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void read_settings(const char *path) {
    long long rate_bit, delay;
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%lld %lld", &rate_bit, &delay) != 2 || rate_bit <= 0 || delay < 0)
        errx(1, "%s does not hold a rate in bit/s and a delay in ns", path);
    fclose(file);
    ns_per_byte = 8e9 / rate_bit;
    delay_ns = delay;
}

static int open_tun(const char *netns, const char *device) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int space = open(netns, O_RDONLY | O_CLOEXEC);
    if (space < 0 || setns(space, CLONE_NEWNET)) err(1, "%s", netns);
    close(space);
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun < 0) err(1, "/dev/net/tun");
    strncpy(request.ifr_name, device, IFNAMSIZ - 1);
    if (ioctl(tun, TUNSETIFF, &request)) err(1, "%s in %s", device, netns);
    if (ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)) err(1, "offload of %s in %s", device, netns);
    return tun;
}

/* Bytes that a packet has on the wire, where the segments of a large one have headers of IP and TCP each. */
static size_t wire_bytes(const unsigned char *bytes, size_t length) {
    const struct virtio_net_hdr *info = (const void *)bytes;
    const unsigned char *ip = bytes + sizeof *info;
    length -= sizeof *info;
    if (info->gso_type == VIRTIO_NET_HDR_GSO_NONE || !info->gso_size || info->csum_start + 20U > length) return length;
    size_t headers = info->csum_start + (ip[info->csum_start + 12] >> 4) * 4;
    size_t segments = (length - headers + info->gso_size - 1) / info->gso_size;
    return length + (segments - 1) * headers;
}

static size_t aligned(size_t length) { return (length + 7) & ~(size_t)7; }

/* Room for the largest packet behind those that are under way; NULL if there is none. */
static struct packet *room(struct direction *side) {
    const size_t need = sizeof(struct packet) + aligned(PACKET_MAX);
    if (side->head == side->tail && side->end == FLIGHT_BYTES) side->head = side->tail = 0; /* empty: near the cache */
    if (side->tail >= side->head) {
        if (FLIGHT_BYTES - side->tail > need) return (void *)(side->flight + side->tail);
        if (side->head <= need) return NULL;
        side->end = side->tail;
        side->tail = 0;
    }
    return side->head - side->tail > need ? (void *)(side->flight + side->tail) : NULL;
}

static struct packet *first(struct direction *side) {
    if (side->head == side->end && side->end != FLIGHT_BYTES) {
        side->head = 0;
        side->end = FLIGHT_BYTES;
    }
    return side->head == side->tail && side->end == FLIGHT_BYTES ? NULL : (void *)(side->flight + side->head);
}

/* Takes what the sender's queue has released. :param arrived_ns: when it was */
static void take(struct direction *side, int64_t arrived_ns) {
    for (int taken = 0; taken < BATCH; taken++) {
        struct packet *packet = room(side);
        unsigned char spill[PACKET_MAX]; /* a full wire loses packets */
        ssize_t length = read(side->from, packet ? (void *)(packet + 1) : spill, PACKET_MAX);
        if (length <= (ssize_t)sizeof(struct virtio_net_hdr)) break;
        if (!packet) continue;
        if (side->free_ns < arrived_ns) side->free_ns = arrived_ns;
        double own_ns = wire_bytes((void *)(packet + 1), length) * ns_per_byte;
        packet->due_ns = side->free_ns + (int64_t)own_ns + delay_ns;
        side->free_ns += (int64_t)(own_ns * DRAIN);
        packet->length = length;
        side->tail += sizeof *packet + aligned(length);
    }
}

/* Hands over what has arrived. A device that is down loses it. */
static void hand_over(struct direction *side, int64_t until_ns) {
    struct packet *packet;
    while ((packet = first(side)) && packet->due_ns <= until_ns) {
        if (write(side->to, packet + 1, packet->length) < 0 && errno == EBADFD)
            errx(1, "a device is gone");
        side->head += sizeof *packet + aligned(packet->length);
    }
}

static void carry(struct direction sides[2], const char *settings) {
    struct pollfd readable[2] = {{.fd = sides[0].from, .events = POLLIN}, {.fd = sides[1].from, .events = POLLIN}};
    for (;;) {
        if (changed) {
            changed = 0;
            read_settings(settings);
        }
        int64_t next_ns = INT64_MAX, asleep_ns = now_ns();
        for (int i = 0; i < 2; i++) {
            hand_over(&sides[i], asleep_ns + EARLY_NS);
            struct packet *packet = first(&sides[i]);
            if (packet && packet->due_ns < next_ns) next_ns = packet->due_ns;
        }
        int64_t left_ns = next_ns - wake_ns - asleep_ns;
        if (left_ns < 0) left_ns = 0;
        struct timespec left = {left_ns / 1000000000, left_ns % 1000000000};
        int ready = ppoll(readable, 2, next_ns == INT64_MAX ? NULL : &left, NULL);
        int64_t awake_ns = now_ns(), late_ns = awake_ns - asleep_ns - left_ns;
        if (ready == 0 && left_ns && late_ns < WAKE_MAX_NS) wake_ns += (late_ns - wake_ns) / WAKE_SHARE;
        int64_t slept_ns = awake_ns - asleep_ns < wake_ns ? awake_ns - asleep_ns : wake_ns;
        for (int i = 0; ready > 0 && i < 2; i++) {
            if (readable[i].revents & ~POLLIN) errx(1, "a device is gone");
            if (readable[i].revents) take(&sides[i], awake_ns - slept_ns);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 5) errx(2, "usage: wire SETTINGS DEVICE NETNS NETNS");
    struct direction sides[2] = {0};
    sigaction(SIGHUP, &(struct sigaction){.sa_handler = note_change}, NULL);
    sides[0].from = sides[1].to = open_tun(argv[3], argv[2]);
    sides[1].from = sides[0].to = open_tun(argv[4], argv[2]);
    for (int i = 0; i < 2; i++) {
        sides[i].end = FLIGHT_BYTES;
        sides[i].flight = mmap(NULL, FLIGHT_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (sides[i].flight == MAP_FAILED) err(1, "memory for packets");
    }
    prctl(PR_SET_TIMERSLACK, 1); /* ns; real-time processes have none */
    carry(sides, argv[1]);
}
