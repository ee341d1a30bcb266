/*
 * Copyright: vcsp.testbed contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 *
 * probe NETNS NETNS ADDRESS WIRE_PID PING_S BULK_S: what the link between two hosts does, with every processor busy.
 *
 * Measures over TCP from the first namespace to ADDRESS in the second: the median time of an exchange of 16 bytes for 16
 * and of 16 bytes for 4104, which are a page and its header, and the rate of a continuous stream, with the processor
 * time that the process WIRE_PID takes for it. Prints ping_us, page_us, bulk_mbit_per_s and cost_cores.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    REQUEST = 16,
    PAGE = 4104,
    STREAM = 0,          /* the answer that does not end */
    CHUNK = 256 * 1024,
    EXCHANGES_MAX = 20000,
    WARM_UP = 4,         /* exchanges that are not counted, while the connection's window opens */
    TIMEOUT_S = 20,
};

static char buffer[CHUNK];

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void enter(const char *netns) {
    int space = open(netns, O_RDONLY | O_CLOEXEC);
    if (space < 0 || setns(space, CLONE_NEWNET)) err(1, "%s", netns);
    close(space);
}

/* What is measured is the link, and not who gets a processor first. */
static void be_first(void) {
    if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}))
        setpriority(PRIO_PROCESS, 0, -20);
}

static pid_t fork_child(void) {
    pid_t child = fork();
    if (child < 0) err(1, "fork");
    if (!child) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

static void all(ssize_t (*move)(int, void *, size_t, int), int connection, size_t length) {
    while (length) {
        ssize_t moved = move(connection, buffer, length < CHUNK ? length : CHUNK, MSG_NOSIGNAL);
        if (moved <= 0) errx(1, "the connection broke off");
        length -= moved;
    }
}

static ssize_t give(int connection, void *bytes, size_t length, int flags) { return send(connection, bytes, length, flags); }

static void limit_waiting(int connection) {
    struct timeval limit = {.tv_sec = TIMEOUT_S};
    int on = 1;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

/* Answers each request with as many bytes as it asks for. */
static void serve(int listener) {
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        uint64_t request[REQUEST / sizeof(uint64_t)];
        if (connection < 0) err(1, "accept");
        limit_waiting(connection);
        while (recv(connection, request, sizeof request, MSG_WAITALL) == sizeof request) {
            if (request[0] != STREAM) all(give, connection, request[0]);
            else while (send(connection, buffer, CHUNK, MSG_NOSIGNAL) > 0) continue;
        }
        close(connection);
    }
}

static int connect_to(const struct sockaddr_in *address) {
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    limit_waiting(connection);
    if (connect(connection, (const void *)address, sizeof *address)) err(1, "connect");
    return connection;
}

static void ask(int connection, uint64_t bytes) {
    uint64_t request[REQUEST / sizeof(uint64_t)] = {bytes};
    if (send(connection, request, sizeof request, MSG_NOSIGNAL) != sizeof request) err(1, "send");
}

static int ascending(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

/* Median time of an exchange, in us. */
static double exchange_us(const struct sockaddr_in *address, uint64_t answer, double duration_s) {
    static double times[EXCHANGES_MAX];
    int connection = connect_to(address), count = -WARM_UP;
    for (double end = now_s() + duration_s; count < 1 || (count < EXCHANGES_MAX && now_s() < end); count++) {
        double begin = now_s();
        ask(connection, answer);
        all(recv, connection, answer);
        if (count >= 0) times[count] = (now_s() - begin) * 1e6;
    }
    close(connection);
    qsort(times, count, sizeof *times, ascending);
    return times[count / 2];
}

static double processor_s(pid_t pid) {
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%llu", &ns) != 1) err(1, "%s", path);
    fclose(file);
    return ns / 1e9;
}

/* The rate of a stream in Mbit/s, after as long a time for it to get up to speed, and what the wire costs in cores. */
static void stream(const struct sockaddr_in *address, pid_t wire, double duration_s, double *mbit_per_s, double *cores) {
    int connection = connect_to(address);
    double begin = 0, cost = 0, bytes = 0;
    ask(connection, STREAM);
    for (double start = now_s(), now = start; now < start + 2 * duration_s; now = now_s()) {
        if (!begin && now >= start + duration_s) {
            begin = now;
            cost = processor_s(wire);
            bytes = 0;
        }
        ssize_t received = recv(connection, buffer, CHUNK, 0);
        if (received <= 0) errx(1, "the stream broke off");
        bytes += received;
    }
    double taken_s = now_s() - begin;
    *mbit_per_s = bytes * 8 / 1e6 / taken_s;
    *cores = (processor_s(wire) - cost) / taken_s;
    close(connection);
}

int main(int argc, char **argv) {
    if (argc != 7) errx(2, "usage: probe NETNS NETNS ADDRESS WIRE_PID PING_S BULK_S");
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    if (inet_pton(AF_INET, argv[3], &address.sin_addr) != 1) errx(2, "%s is no address", argv[3]);
    pid_t wire = atoi(argv[4]);
    setpgid(0, 0);
    enter(argv[2]);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (void *)&address, size) || listen(listener, 1)) err(1, "%s", argv[3]);
    getsockname(listener, (void *)&address, &size);
    if (!fork_child()) {
        be_first();
        serve(listener);
    }
    close(listener);
    for (long left = sysconf(_SC_NPROCESSORS_ONLN); left; left--)
        if (!fork_child()) for (;;) continue;
    enter(argv[1]);
    be_first();
    double ping_us = exchange_us(&address, REQUEST, atof(argv[5])), page_us = exchange_us(&address, PAGE, atof(argv[5]));
    double mbit_per_s = 0, cores = 0;
    if (atof(argv[6]) > 0) stream(&address, wire, atof(argv[6]), &mbit_per_s, &cores);
    printf("{\"ping_us\": %.1f, \"page_us\": %.1f, \"bulk_mbit_per_s\": %.1f, \"cost_cores\": %.3f}\n",
           ping_us, page_us, mbit_per_s, cores);
    signal(SIGTERM, SIG_IGN); /* sent to the children, and waited for, since not every init does */
    kill(0, SIGTERM);
    while (wait(NULL) > 0) continue;
}
