// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// Prefetching for stock QEMU: lengthens the page requests of a post-copy destination while QEMU sends them.
//
// QEMU's return path (migration/migration.c, migrate_send_rp_message_req_pages) sends, big endian,
//     u16 type, u16 length, u64 start, u32 bytes             type 4: same RAMBlock as before
//     ... , u8 name length, name                             type 3: RAMBlock named
// The source accepts any multiple of the page size within the RAMBlock and sends those pages that it has not sent yet:
// the bitmap test of the paper's algorithms 2 and 4. A request beyond the RAMBlock ends the migration.
//
// The policy (module_utils/_destination/policies.py) sets how many pages to request: four numbers in struct settings.

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { REQUEST_PAGES_ID = 3, REQUEST_PAGES = 4, NAME_BYTES = 64, LARGEST_REQUEST = 16 + 1 + 255, STREAMS = 8 };

struct header {
    __u16 type, length;  // length: of what follows these two
    __u32 start_high, start_low, bytes;
};

struct settings {
    __u64 netns_cookie;  // network namespace of the destination
    __u32 port;          // local port of the migration
    __u32 before_pages;  // requested pages that precede the missing one
    __u32 pages;         // pages per request that starts a stream
    __u32 growth;        // factor by which each request that continues it grows,
    __u32 max_pages;     // up to this many pages
};

struct name {
    char text[NAME_BYTES];  // padded with zeros
};

struct block {
    __u64 used_bytes;    // a multiple of page_bytes
    __u32 page_bytes;
    __u32 number;        // from 1; 0 (and all else 0) is a RAMBlock whose requests are not extended
};

struct state {
    __u64 requests;      // requests seen; once the trace is full they are only counted
    __u64 connections;
    struct block block;  // the last one named
};

struct request {
    __u64 time_ns;       // CLOCK_MONOTONIC
    __u64 start;         // offset requested by QEMU
    __u32 asked;         // bytes requested by QEMU
    __u32 sent;          // bytes requested after extension,
    __u32 before;        // of which this many precede start
    __u32 block;         // number of the RAMBlock
};

struct stream {
    __u64 time_ns;       // of its last request
    __u64 start;
    __u32 pages;
    __u32 block;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct settings);
} settings SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);  // set by the loader
    __type(key, struct name);
    __type(value, struct block);
} blocks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct state);
} state SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);  // set by the loader
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct request);
} trace SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_SOCKHASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} connections SEC(".maps");

static const __u32 zero;
// Several vCPUs walk through memory at once. QEMU sends its requests one at a time, so this needs no lock.
static struct stream streams[STREAMS];

SEC("sockops")
int adopt(struct bpf_sock_ops *ops)
{
    const struct settings *set = bpf_map_lookup_elem(&settings, &zero);
    struct state *now = bpf_map_lookup_elem(&state, &zero);
    if (!set || !now || ops->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB || ops->local_port != set->port ||
        bpf_get_netns_cookie(ops) != set->netns_cookie)
        return 1;
    // QEMU leaves Nagle on, so a request waits for the acknowledgement of the previous one, which the source delays by
    // 40 ms once it has sent something back on this connection: measured, a stall with every background page.
    int on = 1;
    bpf_setsockopt(ops, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // since Linux 6.1; without it only slower
    __u32 peer = bpf_ntohl(ops->remote_port);
    if (!bpf_sock_hash_update(ops, &connections, &peer, BPF_ANY))
        __sync_fetch_and_add(&now->connections, 1);
    return 1;
}

// The RAMBlock that a type 3 request names; 0 if its requests are not extended, or the name is incomplete.
static __always_inline const struct block *named(const struct header *header, const void *end)
{
    struct name name = {};
    const __u8 *text = (const void *)(header + 1);
    if ((const void *)(text + 1) > end)
        return 0;
    const __u32 length = *text++;
    if (length > NAME_BYTES)
        return 0;
    for (__u32 i = 0; i < NAME_BYTES; i++) {
        if (i >= length)
            break;
        if ((const void *)(text + i + 1) > end)
            return 0;
        name.text[i] = text[i];
    }
    return bpf_map_lookup_elem(&blocks, &name);
}

// Pages that the policy requests at this offset. A request continues a stream if it starts after the stream's last one,
// within what that requested (a guest is often faster than the pages on their way to it) or up to one window beyond.
static __always_inline __u32 window(const struct settings *set, const struct block *block, __u64 start, __u64 time_ns)
{
    struct stream *stream = &streams[0];  // otherwise it replaces the stream that has been quiet for longest
    __u32 pages = set->pages;
    for (int i = 0; i < STREAMS; i++) {
        struct stream *one = &streams[i];
        const __u64 ahead = start - one->start;
        if (one->block == block->number && ahead && ahead <= 2ull * one->pages * block->page_bytes) {
            stream = one;
            pages = one->pages * set->growth;
            if (pages > set->max_pages)
                pages = set->max_pages;
            break;
        }
        if (one->time_ns < stream->time_ns)
            stream = one;
    }
    stream->time_ns = time_ns;
    stream->start = start;
    stream->pages = pages;
    stream->block = block->number;
    return pages;
}

SEC("sk_msg")
int extend(struct sk_msg_md *message)
{
    const struct settings *set = bpf_map_lookup_elem(&settings, &zero);
    struct state *now = bpf_map_lookup_elem(&state, &zero);
    if (!set || !now)
        return SK_PASS;
    const struct block none = {};
    const __u32 size = message->size;
    const long unseen = bpf_msg_pull_data(message, 0, size < LARGEST_REQUEST ? size : LARGEST_REQUEST, 0);
    struct header *header = message->data;
    const void *end = message->data_end;
    if (unseen || (const void *)(&header->length + 1) > end) {
        now->block = none;  // it may have named another one
        return SK_PASS;
    }
    const __u16 type = bpf_ntohs(header->type);
    if (type != REQUEST_PAGES && type != REQUEST_PAGES_ID)
        return SK_PASS;
    const int whole = size == 4u + bpf_ntohs(header->length);  // not a fragment, and not several messages
    if (type == REQUEST_PAGES_ID) {
        const struct block *found = whole ? named(header, end) : 0;
        now->block = found ? *found : none;
    }
    if (!whole || (const void *)(header + 1) > end)
        return SK_PASS;

    const struct block block = now->block;
    const __u64 time_ns = bpf_ktime_get_ns(), page = block.page_bytes;
    const __u64 start = (__u64)bpf_ntohl(header->start_high) << 32 | bpf_ntohl(header->start_low);
    const __u32 asked = bpf_ntohl(header->bytes);
    __u64 from = start, to = start + asked;
    if (asked == page && !(start & (page - 1)) && start < block.used_bytes) {
        const __u32 most = 0xffffffff / block.page_bytes;  // what the length field can hold
        __u64 pages = window(set, &block, start, time_ns), before = set->before_pages;
        if (pages > most)
            pages = most;
        if (before >= pages)
            before = pages - 1;
        from = start > before * page ? start - before * page : 0;
        to = start + (pages - before) * page;
        if (to > block.used_bytes)
            to = block.used_bytes;
        header->start_high = bpf_htonl(from >> 32);
        header->start_low = bpf_htonl(from);
        header->bytes = bpf_htonl(to - from);
    }

    __u32 place = __sync_fetch_and_add(&now->requests, 1);
    struct request *entry = bpf_map_lookup_elem(&trace, &place);
    if (entry) {
        entry->time_ns = time_ns;
        entry->start = start;
        entry->asked = asked;
        entry->sent = to - from;
        entry->before = start - from;
        entry->block = block.number;
    }
    return SK_PASS;
}

char _license[] SEC("license") = "GPL";
