/* A provider that costs next to nothing, so that what is measured is the gateway in front of it.
 *
 *   upstream -p PORT [-g FILE]         one thread, one epoll, HTTP/1.1, loopback only
 *
 * The request itself says what it wants, by words anywhere in its body (the load has them in a message: not every gateway
 * hands on the other fields):
 *
 *   bench k=50 i=1000 m=answer id=00000042
 *
 *   k   chunks of a stream                     i   milliseconds between them (0: as fast as the socket takes them)
 *   m   answer | refuse (a whole 429) | broken (a 429 that promises 512 bytes, sends 64 and closes) | silent (no answer)
 *       | cut (a stream that is reset after half of its chunks)
 *   id  when a client's leaving closes a stream, "gone ID NANOSECONDS" is written to FILE
 *
 * Every chunk carries T=<CLOCK_MONOTONIC in ns>, by which the load generator knows how long it was under way.
 * A path with /messages is answered as Anthropic does, any other as OpenAI's chat completions. GET /stats counts.
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

enum { HEAD_AND_BODY = 16 * 1024, KEPT = 16 * 1024, WHEEL = 8192, EVENTS = 512 };

enum mode { ANSWER, REFUSE, BROKEN, SILENT, CUT };
enum state { READING, STREAMING };
enum list { NOWHERE, BURSTING, TIMED };

struct connection {
    int fd;
    enum state state;
    /* what was asked */
    bool streams, anthropic;
    enum mode mode;
    long chunks, interval_ms, id;
    /* the request so far: of a longer body only the first part is kept */
    bool head_read, chunked;
    long body_left;
    size_t have;
    char in[HEAD_AND_BODY + 1], tail[5];
    /* the answer so far */
    long sent;
    size_t kept;
    char out[KEPT];
    /* a stream is on one of the lists, or waits for a full socket */
    enum list on;
    uint64_t due_ms;
    struct connection *before, *after, *grave;
};

static int epoll;
static FILE *gone;
static struct { long open, accepted, requests, streams, chunks, faults, left; } count;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* ---- The answers, made once ------------------------------------------------------------------------------------ */

struct text { char bytes[2048]; size_t length, stamp; };

static struct text unary[2], stream_head, opening[2], chunk[2], closing[2], refused, broken;

#define HEADERS                                                                                                        \
    "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: rig\r\nx-request-id: req_0123456789abcdef0123456789abcdef\r\n"    \
    "openai-organization: bench\r\nopenai-processing-ms: 12\r\nopenai-version: 2020-10-01\r\n"                        \
    "x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nCF-Cache-Status: DYNAMIC\r\n"

static const char *openai_answer =
    "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1767225600,\"model\":\"gpt-4o-mini\","
    "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Back-pressure, in three points. The "
    "producer waits when the queue is full. The queue has a bound, and memory with it. The slow client slows its "
    "provider, and nobody else: that is what it is for, and it is all that it does.\",\"refusal\":null},"
    "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":182,\"completion_tokens\":57,"
    "\"total_tokens\":239},\"system_fingerprint\":\"fp_bench\"}";

static const char *anthropic_answer =
    "{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-bench\",\"content\":[{\"type\":"
    "\"text\",\"text\":\"Back-pressure, in three points. The producer waits when the queue is full.\"}],"
    "\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":182,\"output_tokens\":57}}";

#define OPENAI_EVENT(delta, reason)                                                                                    \
    "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\"model\":"           \
    "\"gpt-4o-mini\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\"choices\":[{\"index\":0,"       \
    "\"delta\":{" delta "},\"logprobs\":null,\"finish_reason\":" reason "}]}\n\n"
#define ANTHROPIC_EVENT(type, rest) "event: " type "\ndata: {\"type\":\"" type "\"" rest "}\n\n"
#define STAMP "T=0000000000000000000"

static const char *openings[2] = {
    OPENAI_EVENT("\"role\":\"assistant\",\"content\":\"\"", "null"),
    ANTHROPIC_EVENT("message_start",
        ",\"message\":{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-bench\","
        "\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":182,\"output_tokens\":1}}")
    ANTHROPIC_EVENT("content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}"),
};
static const char *chunks[2] = {
    OPENAI_EVENT("\"content\":\"" STAMP " \"", "null"),
    ANTHROPIC_EVENT("content_block_delta", ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"" STAMP " \"}"),
};
static const char *closings[2] = {
    OPENAI_EVENT("", "\"stop\"") "data: [DONE]\n\n",
    ANTHROPIC_EVENT("content_block_stop", ",\"index\":0")
    ANTHROPIC_EVENT("message_delta",
        ",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":57}")
    ANTHROPIC_EVENT("message_stop", ""),
};

static void write_answer(struct text *t, const char *status, const char *more, const char *body, size_t promised) {
    t->length = snprintf(t->bytes, sizeof t->bytes,
        "HTTP/1.1 %s\r\n" HEADERS "%sContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        status, more, promised, body);
}

static void write_chunk(struct text *t, const char *data, const char *end) {
    t->length = snprintf(t->bytes, sizeof t->bytes, "%zx\r\n%s\r\n%s", strlen(data), data, end);
    const char *stamp = strstr(t->bytes, "T=0");
    t->stamp = stamp ? stamp + 2 - t->bytes : 0;
}

static void write_answers(void) {
    write_answer(&unary[0], "200 OK", "", openai_answer, strlen(openai_answer));
    write_answer(&unary[1], "200 OK", "", anthropic_answer, strlen(anthropic_answer));
    const char *limit = "{\"error\":{\"message\":\"Rate limit reached for gpt-4o-mini in organization bench on requests per "
                        "min\",\"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}";
    write_answer(&refused, "429 Too Many Requests", "Retry-After: 7\r\n", limit, strlen(limit));
    char first[65];
    snprintf(first, sizeof first, "%.64s", limit);
    write_answer(&broken, "429 Too Many Requests", "Retry-After: 7\r\n", first, 512);
    stream_head.length = snprintf(stream_head.bytes, sizeof stream_head.bytes,
        "HTTP/1.1 200 OK\r\n" HEADERS "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
        "Transfer-Encoding: chunked\r\n\r\n");
    for (int wire = 0; wire < 2; wire++) {
        write_chunk(&opening[wire], openings[wire], "");
        write_chunk(&chunk[wire], chunks[wire], "");
        write_chunk(&closing[wire], closings[wire], "0\r\n\r\n");
    }
}

static void stamp(struct text *t) {
    uint64_t v = now_ns();
    for (int i = 18; i >= 0; i--, v /= 10) t->bytes[t->stamp + i] = '0' + v % 10;
}

/* ---- Streams that have a next chunk: now (a ring, each in turn) or at a time (a wheel of 1 ms) ------------------- */

static struct connection *bursting, *wheel[WHEEL];
static long timed;
static uint64_t turned_ms;

static void put_on(struct connection *c, enum list on, struct connection **first) {
    c->on = on;
    c->before = NULL;
    c->after = *first;
    if (*first) (*first)->before = c;
    *first = c;
    timed += on == TIMED;
}

static void take_off(struct connection *c) {
    if (c->on == NOWHERE) return;
    struct connection **first = c->on == BURSTING ? &bursting : &wheel[c->due_ms % WHEEL];
    if (c->before) c->before->after = c->after; else *first = c->after;
    if (c->after) c->after->before = c->before;
    timed -= c->on == TIMED;
    c->on = NOWHERE;
}

/* Each stream keeps its own time, however late it is looked at. If the next chunk were due an interval after the last one
 * left, streams that were late together would stay together: after a minute all of them speak in a few bursts, which no
 * crowd of strangers does. */
static void schedule(struct connection *c) {
    if (c->interval_ms == 0) { put_on(c, BURSTING, &bursting); return; }
    uint64_t wait = c->interval_ms < WHEEL - 1 ? c->interval_ms : WHEEL - 1;
    c->due_ms += wait;
    if (c->due_ms <= turned_ms) c->due_ms = turned_ms + 1;
    put_on(c, TIMED, &wheel[c->due_ms % WHEEL]);
}

/* ---- One connection -------------------------------------------------------------------------------------------- */

static struct connection *graves; /* freed only when no event of this turn can name them any more */

static void watch(struct connection *c, int operation, uint32_t also) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | also, .data.ptr = c};
    epoll_ctl(epoll, operation, c->fd, &e);
}

static void end(struct connection *c) {
    if (c->fd < 0) return;
    take_off(c);
    close(c->fd);
    c->fd = -1;
    count.open--;
    c->grave = graves;
    graves = c;
}

static void end_left(struct connection *c) {
    if (c->fd >= 0 && c->state == STREAMING) {
        count.left++;
        if (gone && c->id >= 0) fprintf(gone, "gone %ld %llu\n", c->id, (unsigned long long)now_ns());
    }
    end(c);
}

/* Send, or keep what the socket does not take: false if the stream must wait (or is no more). */
static bool say(struct connection *c, const char *bytes, size_t length) {
    ssize_t sent = c->kept ? 0 : send(c->fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) { end_left(c); return false; }
    if (sent < 0) sent = 0;
    if ((size_t)sent == length) return true;
    if (c->kept + length - sent > KEPT) { end_left(c); return false; }
    memcpy(c->out + c->kept, bytes + sent, length - sent);
    c->kept += length - sent;
    take_off(c);
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
    return false;
}

static void flush(struct connection *c) {
    ssize_t sent = send(c->fd, c->out, c->kept, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) { end_left(c); return; }
    if (sent <= 0) return;
    memmove(c->out, c->out + sent, c->kept - sent);
    c->kept -= sent;
    if (c->kept) return;
    watch(c, EPOLL_CTL_MOD, 0);
    if (c->state == STREAMING) schedule(c);
}

static void await_request(struct connection *c) {
    c->state = READING;
    c->have = 0;
    c->head_read = false;
}

/* Send the next chunk of a stream, or its end. The stream is on no list when this is called from the wheel. */
static void step(struct connection *c) {
    int wire = c->anthropic;
    if (c->mode == CUT && c->sent * 2 >= c->chunks) {
        struct linger reset = {1, 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        end(c);
        return;
    }
    if (c->sent >= c->chunks) {
        take_off(c);
        await_request(c);
        say(c, closing[wire].bytes, closing[wire].length);
        return;
    }
    c->sent++;
    count.chunks++;
    stamp(&chunk[wire]);
    if (say(c, chunk[wire].bytes, chunk[wire].length) && c->on == NOWHERE) schedule(c);
}

static void start_stream(struct connection *c) {
    char both[sizeof stream_head.bytes + sizeof opening[0].bytes];
    struct text *first = &opening[c->anthropic];
    memcpy(both, stream_head.bytes, stream_head.length);
    memcpy(both + stream_head.length, first->bytes, first->length);
    count.streams++;
    c->state = STREAMING;
    c->sent = 0;
    c->due_ms = now_ns() / 1000000;
    if (!say(c, both, stream_head.length + first->length)) return;
    if (c->interval_ms) step(c); else schedule(c);
}

static long number(const char *words, const char *name, long otherwise) {
    const char *at = strstr(words, name);
    return at ? atol(at + strlen(name)) : otherwise;
}

static void read_wish(struct connection *c, const char *body) {
    const char *said = strstr(body, "bench ");
    char words[64] = "";
    if (said) snprintf(words, sizeof words, "%s", said + 5);
    c->chunks = number(words, " k=", 50);
    c->interval_ms = number(words, " i=", 0);
    c->id = number(words, " id=", -1);
    c->mode = strstr(words, "m=refuse") ? REFUSE : strstr(words, "m=broken") ? BROKEN : strstr(words, "m=silent") ? SILENT
        : strstr(words, "m=cut") ? CUT : ANSWER;
    c->streams = strstr(body, "\"stream\":true") || strstr(body, "\"stream\": true");
    c->anthropic = strstr(c->in, "/messages ") != NULL;
}

static void answer_get(struct connection *c) {
    char body[256], whole[512];
    snprintf(body, sizeof body,
        "{\"open\":%ld,\"accepted\":%ld,\"requests\":%ld,\"streams\":%ld,\"chunks\":%ld,\"faults\":%ld,\"left\":%ld,\"object\":\"list\",\"data\":[]}",
        count.open, count.accepted, count.requests, count.streams, count.chunks, count.faults, count.left);
    int length = snprintf(whole, sizeof whole,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    if (gone) fflush(gone);
    say(c, whole, length);
}

static void answer(struct connection *c, const char *body) {
    bool get = !strncmp(c->in, "GET ", 4);
    read_wish(c, body);
    await_request(c);
    if (get) { answer_get(c); return; }
    count.requests++;
    count.faults += c->mode != ANSWER;
    if (c->mode == REFUSE) say(c, refused.bytes, refused.length);
    else if (c->mode == BROKEN) { if (say(c, broken.bytes, broken.length)) end(c); }
    else if (c->mode == SILENT) c->state = STREAMING;
    else if (c->streams) start_stream(c);
    else say(c, unary[c->anthropic].bytes, unary[c->anthropic].length);
}

static const char *header(const char *head, const char *name) {
    const char *at = strcasestr(head, name);
    return at ? at + strlen(name) : NULL;
}

static void take_body(struct connection *c, const char *bytes, size_t n) {
    c->body_left -= n;
    for (size_t i = n > 5 ? n - 5 : 0; i < n; i++) { memmove(c->tail, c->tail + 1, 4); c->tail[4] = bytes[i]; }
}

static bool body_read(struct connection *c) {
    return c->chunked ? !memcmp(c->tail, "0\r\n\r\n", 5) : c->body_left <= 0;
}

/* Read what is there; answer when a request is whole. One request at a time: nobody pipelines here. */
static void on_readable(struct connection *c) {
    static char surplus[256 * 1024];
    static char *body;
    while (c->fd >= 0) {
        bool keep = c->state == READING && c->have < HEAD_AND_BODY;
        char *into = keep ? c->in + c->have : surplus;
        ssize_t n = recv(c->fd, into, keep ? HEAD_AND_BODY - c->have : sizeof surplus, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) { end_left(c); return; }
        if (c->state == STREAMING) continue;
        if (keep) { c->have += n; c->in[c->have] = 0; }
        if (c->head_read) take_body(c, into, n);
        else {
            char *end_of_head = memmem(c->in, c->have, "\r\n\r\n", 4);
            if (!end_of_head) { if (c->have == HEAD_AND_BODY) end(c); continue; }
            *end_of_head = 0;
            const char *length = header(c->in, "\r\ncontent-length:"), *coding = header(c->in, "\r\ntransfer-encoding:");
            *end_of_head = '\r';
            c->head_read = true;
            c->chunked = coding != NULL;
            c->body_left = length ? atol(length) : 0;
            memset(c->tail, 0, sizeof c->tail);
            take_body(c, end_of_head + 4, c->in + c->have - (end_of_head + 4));
        }
        if (!body_read(c) && !(strncmp(c->in, "GET ", 4) == 0)) continue;
        body = strstr(c->in, "\r\n\r\n");
        answer(c, body ? body : "");
    }
}

/* ---- The loop -------------------------------------------------------------------------------------------------- */

static int listen_on(int port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096)) { perror("upstream: bind"); exit(1); }
    return fd;
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = malloc(sizeof *c); /* untouched pages cost nothing: only the fields below are set */
        c->fd = fd;
        c->kept = 0;
        c->on = NOWHERE;
        await_request(c);
        watch(c, EPOLL_CTL_ADD, 0);
        count.open++;
        count.accepted++;
    }
}

static void turn_wheel(void) {
    uint64_t now_ms = now_ns() / 1000000;
    for (; turned_ms < now_ms; turned_ms++)
        for (struct connection *c; (c = wheel[(turned_ms + 1) % WHEEL]);) { take_off(c); step(c); }
}

static void step_bursting(void) {
    for (struct connection *c = bursting, *after; c; c = after) { after = c->after; step(c); }
}

static void bury(void) {
    while (graves) { struct connection *c = graves; graves = c->grave; free(c); }
}

static void on_event(struct epoll_event *event, int listener) {
    struct connection *c = event->data.ptr;
    if (!c) { accept_all(listener); return; }
    if (c->fd >= 0 && event->events & EPOLLOUT && c->kept) flush(c);
    if (c->fd >= 0 && event->events & ~EPOLLOUT) on_readable(c);
}

int main(int argc, char **argv) {
    int option, port = 9000;
    while ((option = getopt(argc, argv, "p:g:")) > 0) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'g') gone = fopen(optarg, "w");
        else return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    write_answers();
    int listener = listen_on(port);
    epoll = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    turned_ms = now_ns() / 1000000;
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, bursting ? 0 : timed ? 1 : -1);
        if (!timed) turned_ms = now_ns() / 1000000 - 1;
        for (int i = 0; i < n; i++) on_event(&events[i], listener);
        turn_wheel();
        step_bursting();
        bury();
    }
}
