// SPDX-License-Identifier: GPL-3.0-or-later
// Copyright: vcsp.testbed contributors
//
// Prefetching for stock QEMU: lengthens the page requests of a post-copy destination while QEMU sends them.
//
// QEMU's return path (migration/migration.c, migrate_send_rp_req_pages) sends, big endian,
//     u16 type, u16 length, u64 start, u32 len             type 4: same RAMBlock as before
//     ... , u8 id length, id                               type 3: RAMBlock named
// The source takes any len that is a multiple of the page inside the RAMBlock and sends those pages of it that it has
// not sent yet: the bitmap test of the paper's algorithms 2 and 4.

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { REQUEST_PAGES_ID = 3, REQUEST_PAGES = 4, HEADER_BYTES = 16, ID_MAX = 64 };

struct settings {
    __u64 netns_cookie;  // network namespace of the destination
    __u64 block_bytes;   // used length of the RAMBlock that may be extended
    __u32 port;          // local port of the migration
    __u32 page_bytes;
    __u32 pages;         // pages a request asks for in all: N of the paper
    __u32 id_length;
    char id[ID_MAX];     // name of that RAMBlock
};

struct state {
    __u64 requests;      // requests seen; beyond the trace's end they are only counted
    __u32 in_block;      // the last named RAMBlock is the one to extend
    __u32 connections;
};

struct request {
    __u64 time_ns;       // CLOCK_MONOTONIC
    __u64 start;
    __u32 asked, sent;   // bytes asked by QEMU, bytes asked after extension
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct settings);
} settings SEC(".maps");

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

SEC("sockops")
int adopt(struct bpf_sock_ops *ops)
{
    const struct settings *set = bpf_map_lookup_elem(&settings, &zero);
    struct state *now = bpf_map_lookup_elem(&state, &zero);
    if (!set || !now || ops->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB || ops->local_port != set->port ||
        bpf_get_netns_cookie(ops) != set->netns_cookie)
        return 1;
    // QEMU leaves Nagle on. A request then waits for the acknowledgement of the one before, and once the source has sent
    // something back on this connection it delays that by 40 ms: measured, a stall with every background page.
    int on = 1;
    bpf_setsockopt(ops, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // since Linux 6.1; without it only slower
    __u32 peer = bpf_ntohl(ops->remote_port);
    if (!bpf_sock_hash_update(ops, &connections, &peer, BPF_ANY))
        __sync_fetch_and_add(&now->connections, 1);
    return 1;
}

SEC("sk_msg")
int extend(struct sk_msg_md *message)
{
    const struct settings *set = bpf_map_lookup_elem(&settings, &zero);
    struct state *now = bpf_map_lookup_elem(&state, &zero);
    if (!set || !now || message->size < HEADER_BYTES || bpf_msg_pull_data(message, 0, HEADER_BYTES, 0))
        return SK_PASS;
    char *data = message->data, *end = message->data_end;
    if (data + HEADER_BYTES > end)
        return SK_PASS;
    const __u16 type = bpf_ntohs(*(__u16 *)data);
    if (type != REQUEST_PAGES && type != REQUEST_PAGES_ID)
        return SK_PASS;

    if (type == REQUEST_PAGES_ID) {
        const __u32 whole = HEADER_BYTES + 1 + set->id_length;
        now->in_block = 0;
        if (message->size == whole && whole <= HEADER_BYTES + 1 + ID_MAX && !bpf_msg_pull_data(message, 0, whole, 0)) {
            data = message->data;
            end = message->data_end;
            if (data + HEADER_BYTES + 1 > end)
                return SK_PASS;
            __u32 same = (__u8)data[HEADER_BYTES] == set->id_length;
            for (__u32 i = 0; i < ID_MAX; i++) {
                if (i >= set->id_length)
                    break;
                if (data + HEADER_BYTES + 1 + i + 1 > end)
                    return SK_PASS;
                if (data[HEADER_BYTES + 1 + i] != set->id[i])
                    same = 0;
            }
            now->in_block = same;
        }
        // A failed pull may have moved the message: look at the header where it is now.
        data = message->data;
        end = message->data_end;
        if (data + HEADER_BYTES > end)
            return SK_PASS;
    }

    const __u32 high = bpf_ntohl(*(__u32 *)(data + 4)), low = bpf_ntohl(*(__u32 *)(data + 8));
    const __u64 start = (__u64)high << 32 | low;
    const __u32 asked = bpf_ntohl(*(__u32 *)(data + 12));
    __u32 sent = asked;
    if (now->in_block && asked == set->page_bytes && start < set->block_bytes) {
        __u64 wanted = (__u64)set->pages * set->page_bytes;
        if (wanted > set->block_bytes - start)  // beyond the end of the block the source would fail
            wanted = set->block_bytes - start;
        if (wanted > asked && wanted <= 0xffffffff) {
            sent = wanted;
            *(__u32 *)(data + 12) = bpf_htonl(sent);
        }
    }

    __u32 place = __sync_fetch_and_add(&now->requests, 1);
    struct request *entry = bpf_map_lookup_elem(&trace, &place);
    if (entry) {
        entry->time_ns = bpf_ktime_get_ns();
        entry->start = start;
        entry->asked = asked;
        entry->sent = sent;
    }
    return SK_PASS;
}

char _license[] SEC("license") = "GPL";
