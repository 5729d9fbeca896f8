/* Many clients of a gateway in one thread: sends one request again and again, reads every answer to its proven end, and
 * says in one line of JSON what came back and how long it took.
 *
 *   load -p PORT -b BODYFILE -c CONNECTIONS [-d SECONDS | -n REQUESTS | -1] [more]
 *
 *   -1        each connection makes one request and closes        -r N      open N connections a second, not all at once
 *   -u PATH   instead of /v1/chat/completions                     -H TEXT   one more header line
 *   -w MS     wait between the answer and the next request        -g FILE   write "left ID NANOSECONDS" for each leaving
 *   -l MS     leave: close the connection at a random time up to MS after the first byte of an answer
 *   -z N      fill the body with N spaces before its last byte (a large body without a large file)
 *   -a N      connect from N loopback addresses, for more connections than one address has ports
 *
 * "id=00000000" in the body becomes the number of the request. A chunk's delay is its arrival less the T= it carries.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 8192, CARRY = 24, EVENTS = 512, STAMP_DIGITS = 19 };

/* ---- A histogram of nanoseconds: 64 steps to each power of two, so within 1.6 % ---------------------------------- */

struct histogram { uint64_t steps[64 * 64], n, max; };

static void add(struct histogram *h, int64_t ns) {
    uint64_t v = ns < 64 ? 64 : ns;
    int power = 63 - __builtin_clzll(v);
    h->steps[power * 64 + ((v >> (power - 6)) & 63)]++;
    h->n++;
    if (v > h->max) h->max = v;
}

static double microseconds(const struct histogram *h, double part) {
    uint64_t wanted = part * h->n, seen = 0;
    for (int i = 0; i < 64 * 64; i++) {
        seen += h->steps[i];
        if (seen > wanted) return ((1ull << (i / 64)) + ((uint64_t)(i % 64) << (i / 64 - 6))) / 1000.0;
    }
    return h->max / 1000.0;
}

static struct histogram whole, first_byte, chunk_delay;

/* ---- What is asked for, and what came --------------------------------------------------------------------------- */

static int epoll, connections = 1, port = 8000, rate, wait_ms, leave_ms, addresses = 1;
static long requests = -1, spaces;
static double seconds;
static bool once, stopping;
static char *request, *id_at;
static size_t request_length;
static FILE *left_file;

static struct {
    long started, done, ok, client_errors, server_errors, told, cut, reset, refused, left, chunks, ended, reads, bytes;
} count;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* ---- One client -------------------------------------------------------------------------------------------------- */

enum state { CLOSED, CONNECTING, WRITING, READING, WAITING };
enum framing { SIZE, SIZE_END, DATA, DATA_END, TRAILER };

struct client {
    int fd;
    enum state state;
    size_t written;
    uint64_t since, due; /* due: when to leave, or to ask again */
    long id;
    bool is_head_read, is_chunked, is_closing, is_retry_after;
    int status;
    char first;                /* of the body */
    long left;                 /* of a body with a length; -1: to the end of the connection */
    enum framing framing;
    long chunk_left;
    size_t head_length, carried;
    char head[HEAD + 1], carry[CARRY];
};

static struct client *clients;
static struct sockaddr_in gateway;

static void watch(struct client *c, int operation, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(epoll, operation, c->fd, &e);
}

static void hang_up(struct client *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->state = CLOSED;
}

static void open_connection(struct client *c) {
    static unsigned turn;
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) { perror("load: socket"); exit(1); }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (addresses > 1) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + turn++ % addresses)};
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        bind(c->fd, (struct sockaddr *)&from, sizeof from);
    }
    connect(c->fd, (struct sockaddr *)&gateway, sizeof gateway);
    c->state = CONNECTING;
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void write_request(struct client *c) {
    if (c->written == 0 && id_at) {
        char digits[9];
        snprintf(digits, sizeof digits, "%08ld", c->id);
        memcpy(id_at, digits, 8);
    }
    ssize_t n = send(c->fd, request + c->written, request_length - c->written, MSG_NOSIGNAL);
    if (n > 0) c->written += n;
    bool whole_written = c->written == request_length;
    if (c->state != READING || !whole_written) watch(c, EPOLL_CTL_MOD, EPOLLIN | (whole_written ? 0 : EPOLLOUT));
    c->state = whole_written ? READING : WRITING;
}

static void ask(struct client *c) {
    if (stopping || (requests >= 0 && count.started >= requests)) { hang_up(c); return; }
    c->id = count.started++;
    c->since = now_ns();
    c->due = 0;
    c->written = c->head_length = c->carried = 0;
    c->is_head_read = c->is_chunked = c->is_closing = c->is_retry_after = false;
    c->status = 0;
    c->first = 0;
    c->left = -1;
    c->framing = SIZE;
    c->chunk_left = 0;
    if (c->fd < 0) { open_connection(c); return; }
    c->state = WRITING;
    write_request(c);
    if (c->state == READING) watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void go_on(struct client *c) {
    count.done++;
    if (once) { hang_up(c); return; }
    if (!wait_ms) { ask(c); return; }
    c->state = WAITING;
    c->due = now_ns() + wait_ms * 1000000ull;
}

static void finish(struct client *c) {
    add(&whole, now_ns() - c->since);
    if (c->status < 400) count.ok++;
    else if (c->status < 500) count.client_errors++;
    else count.server_errors++;
    count.told += c->status == 429 && c->is_retry_after && c->first == '{';
    if (c->is_closing) hang_up(c);
    go_on(c);
}

static void fail(struct client *c, long *kind) {
    (*kind)++;
    hang_up(c);
    go_on(c);
}

static void leave(struct client *c) {
    count.left++;
    if (left_file) fprintf(left_file, "left %ld %llu\n", c->id, (unsigned long long)now_ns());
    hang_up(c);
    go_on(c);
}

/* ---- Reading an answer ------------------------------------------------------------------------------------------- */

static void note_stamp(const char *digits, uint64_t now) {
    uint64_t sent = 0;
    for (int i = 0; i < STAMP_DIGITS; i++) sent = sent * 10 + (digits[i] - '0');
    count.chunks++;
    add(&chunk_delay, now - sent);
}

/* Find the stamps and the end mark; what may be the beginning of one is carried over to the next read. */
static void note_marks(struct client *c, const char *bytes, size_t n) {
    static char text[CARRY + 65536];
    memcpy(text, c->carry, c->carried);
    memcpy(text + c->carried, bytes, n);
    char *at = text, *end = text + c->carried + n, *found;
    uint64_t now = now_ns();
    while ((found = memmem(at, end - at, "T=", 2)) && end - found >= STAMP_DIGITS + 2) {
        note_stamp(found + 2, now);
        at = found + 2 + STAMP_DIGITS;
    }
    if ((found = memmem(at, end - at, "[DONE]", 6))) { count.ended++; at = found + 6; }
    else if ((found = memmem(at, end - at, "message_stop", 12))) { count.ended++; at = end; }
    c->carried = end - at < CARRY ? end - at : CARRY;
    memcpy(c->carry, end - c->carried, c->carried);
}

static int hex(char x) { return x <= '9' ? x - '0' : (x | 32) - 'a' + 10; }

static void take_content(struct client *c, const char *bytes, size_t n) {
    if (!n) return;
    if (!c->first) c->first = bytes[0];
    note_marks(c, bytes, n);
}

/* True when the last chunk and its trailer are read. Proxies cut chunks anew, in the middle of a stamp too: so what is
 * looked at is the content, never the bytes as they came. */
static bool read_chunked(struct client *c, const char *bytes, size_t n) {
    for (size_t i = 0; i < n;) switch (c->framing) {
        case SIZE:
            if (bytes[i] == '\r' || bytes[i] == ';') c->framing = SIZE_END;
            else c->chunk_left = c->chunk_left * 16 + hex(bytes[i]);
            i++;
            break;
        case SIZE_END:
            if (bytes[i++] == '\n') c->framing = c->chunk_left ? DATA : TRAILER;
            break;
        case DATA: {
            long part = (long)(n - i) < c->chunk_left ? (long)(n - i) : c->chunk_left;
            take_content(c, bytes + i, part);
            c->chunk_left -= part;
            i += part;
            if (!c->chunk_left) c->framing = DATA_END;
            break;
        }
        case DATA_END:
            if (bytes[i++] == '\n') c->framing = SIZE;
            break;
        case TRAILER: /* nobody here sends a trailer with fields */
            if (bytes[i++] == '\n') return true;
            break;
    }
    return false;
}

static const char *field(const char *head, const char *name) {
    const char *at = strcasestr(head, name);
    if (!at) return NULL;
    at += strlen(name);
    return at + (*at == ' ');
}

static void read_head(struct client *c) {
    const char *length = field(c->head, "\r\ncontent-length:"), *connection = field(c->head, "\r\nconnection:");
    c->is_head_read = true;
    c->status = atoi(c->head + 9);
    c->left = length ? atol(length) : -1;
    c->is_chunked = field(c->head, "\r\ntransfer-encoding:") != NULL;
    c->is_retry_after = field(c->head, "\r\nretry-after:") != NULL;
    c->is_closing = (connection && !strncasecmp(connection, "close", 5)) || (c->left < 0 && !c->is_chunked);
}

/* Take what belongs to the head; the rest of the bytes is the body's. */
static size_t take_head(struct client *c, const char *bytes, size_t n) {
    size_t part = n < HEAD - c->head_length ? n : HEAD - c->head_length, before = c->head_length;
    memcpy(c->head + before, bytes, part);
    c->head_length += part;
    c->head[c->head_length] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return n;
    end[2] = 0;
    read_head(c);
    return end + 4 - (c->head + before);
}

static bool take_body(struct client *c, const char *bytes, size_t n) {
    if (c->is_chunked) return read_chunked(c, bytes, n);
    take_content(c, bytes, n);
    if (c->left < 0) return false;
    c->left -= n;
    return c->left <= 0;
}

static void on_end(struct client *c) {
    if (c->state == WAITING) { close(c->fd); c->fd = -1; return; }
    if (c->is_head_read && !c->is_chunked && c->left < 0) { c->is_closing = true; finish(c); return; }
    fail(c, &count.cut);
}

static void on_first_byte(struct client *c) {
    add(&first_byte, now_ns() - c->since);
    if (leave_ms) c->due = now_ns() + (random() % (leave_ms * 1000)) * 1000ull;
}

static void on_readable(struct client *c) {
    static char bytes[65536];
    long id = c->id;
    while (c->fd >= 0 && c->id == id) {
        ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) { fail(c, &count.reset); return; }
        if (n == 0) { on_end(c); return; }
        if (c->state == WAITING) continue;
        count.reads++;
        count.bytes += n;
        if (c->head_length == 0) on_first_byte(c);
        size_t head = c->is_head_read ? 0 : take_head(c, bytes, n);
        if (c->is_head_read && take_body(c, bytes + head, n - head)) { finish(c); return; }
        if (n < (ssize_t)sizeof bytes) return; /* level-triggered: what comes later, comes by an event */
    }
}

/* ---- The loop ---------------------------------------------------------------------------------------------------- */

static void on_event(struct epoll_event *event) {
    struct client *c = event->data.ptr;
    if (c->fd < 0) return;
    if (c->state == CONNECTING && event->events & EPOLLERR) { fail(c, &count.refused); return; }
    if (c->state <= WRITING && event->events & EPOLLOUT) write_request(c);
    if (event->events & ~EPOLLOUT) on_readable(c);
}

static void on_times(void) {
    uint64_t now = now_ns();
    for (int i = 0; i < connections; i++) {
        struct client *c = &clients[i];
        if (!c->due || c->due > now) continue;
        c->due = 0;
        if (c->state == WAITING) ask(c); else if (c->fd >= 0) leave(c);
    }
}

static void run(void) {
    struct epoll_event events[EVENTS];
    uint64_t start = now_ns();
    int launched = 0;
    for (;;) {
        double elapsed = (now_ns() - start) / 1e9;
        long may = rate ? (long)(elapsed * rate) + 1 : connections;
        while (launched < connections && launched < may) ask(&clients[launched++]);
        if (seconds && elapsed >= seconds) return;
        if (requests >= 0 && count.done >= requests) return;
        int n = epoll_wait(epoll, events, EVENTS, wait_ms || leave_ms || launched < connections ? 1 : 50);
        for (int i = 0; i < n; i++) on_event(&events[i]);
        if (wait_ms || leave_ms) on_times();
    }
}

/* ---- The request, and the report --------------------------------------------------------------------------------- */

static char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "r");
    if (!file) { perror(path); exit(1); }
    char *bytes = malloc(1 << 20);
    *length = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void write_head_and_body(const char *path, const char *headers, const char *file) {
    size_t length;
    char *body = read_file(file, &length);
    request = malloc(length + spaces + HEAD);
    size_t head = snprintf(request, HEAD,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Type: application/json\r\n"
        "%sContent-Length: %zu\r\n\r\n", path, port, headers, length + spaces);
    memcpy(request + head, body, length - 1);
    memset(request + head + length - 1, ' ', spaces);
    request[head + length - 1 + spaces] = body[length - 1];
    request_length = head + length + spaces;
    char *id = memmem(request, request_length, "id=00000000", 11);
    id_at = id ? id + 3 : NULL;
    free(body);
}

static void report(double elapsed) {
    printf("{\"seconds\": %.3f, \"done\": %ld, \"rate\": %.1f, \"ok\": %ld, \"client_errors\": %ld, \"server_errors\": %ld, "
           "\"told_429\": %ld, \"cut\": %ld, \"reset\": %ld, \"refused\": %ld, \"left\": %ld, \"chunks\": %ld, \"ended\": %ld, "
           "\"reads\": %ld, \"megabytes\": %.1f, ",
           elapsed, count.done, count.done / elapsed, count.ok, count.client_errors, count.server_errors, count.told,
           count.cut, count.reset, count.refused, count.left, count.chunks, count.ended, count.reads, count.bytes / 1e6);
    printf("\"whole_p50_us\": %.0f, \"whole_p99_us\": %.0f, \"whole_max_us\": %.0f, \"first_byte_p50_us\": %.0f, "
           "\"first_byte_p99_us\": %.0f, \"chunk_p50_us\": %.0f, \"chunk_p99_us\": %.0f, \"chunk_max_us\": %.0f}\n",
           microseconds(&whole, .5), microseconds(&whole, .99), whole.max / 1e3, microseconds(&first_byte, .5),
           microseconds(&first_byte, .99), microseconds(&chunk_delay, .5), microseconds(&chunk_delay, .99),
           chunk_delay.max / 1e3);
}

int main(int argc, char **argv) {
    const char *path = "/v1/chat/completions", *file = NULL;
    char headers[HEAD / 2] = "";
    int option;
    while ((option = getopt(argc, argv, "p:c:n:d:b:u:H:r:1w:l:z:a:g:")) > 0) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'c': connections = atoi(optarg); break;
        case 'n': requests = atol(optarg); break;
        case 'd': seconds = atof(optarg); break;
        case 'b': file = optarg; break;
        case 'u': path = optarg; break;
        case 'H': strncat(headers, optarg, 1000); strcat(headers, "\r\n"); break;
        case 'r': rate = atoi(optarg); break;
        case '1': once = true; break;
        case 'w': wait_ms = atoi(optarg); break;
        case 'l': leave_ms = atoi(optarg); break;
        case 'z': spaces = atol(optarg); break;
        case 'a': addresses = atoi(optarg); break;
        case 'g': left_file = fopen(optarg, "w"); break;
        default: return 2;
    }
    if (!file) { fprintf(stderr, "load: -b BODYFILE is missing\n"); return 2; }
    if (once) requests = connections;
    signal(SIGPIPE, SIG_IGN);
    write_head_and_body(path, headers, file);
    gateway = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    epoll = epoll_create1(0);
    clients = calloc(connections, sizeof *clients);
    for (int i = 0; i < connections; i++) clients[i].fd = -1;
    uint64_t start = now_ns();
    run();
    report((now_ns() - start) / 1e9);
    return 0;
}
