/*
 * The helper: one program under many names, between a tool and the agent (juniperd).
 *
 * It knows no tool's protocol. It sends the name it was called by, its arguments and a few named variables, then obeys
 * the frames it gets back; their layout is told in juniperd/wire.py, and juniper_helper.py is this program in Python.
 * What goes wrong on its own side is one line on stderr that ends with the cure, and status 1. All memory is fixed.
 * All it knows of tools: Docker reads the failures of its helpers on stdout, and Google's libraries want them as JSON.
 */
#include "juniper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    VERSION = 1,
    HEADER = 5,
    MAX_PAYLOAD = 65536,
    MAX_REQUEST = 131072, /* payloads together, as the agent counts them */
    MAX_FRAMES = 256,
    MAX_STDIN = 1048576,
    DEADLINE_MS = 4000, /* one SDK gives the whole loading of an identity 5 s */
    LAST_WORD_MS = 100,
};

static const char RESTART[] = "restart the agent: juniper down; juniper up";

static const char *const VARIABLES[] = {"KUBERNETES_EXEC_INFO", "JUNIPER_QUIET"};

static const char *name = "juniper";
static bool for_library; /* Google's libraries run it, and not a tool of ours that wants the access token */
int64_t deadline;

static unsigned char request[1 + MAX_FRAMES * HEADER + MAX_REQUEST];
static size_t request_size, request_payload, request_frames;

static unsigned char inbox[HEADER + MAX_PAYLOAD];
static size_t inbox_size;

/* What is known of the agent and of what it asked for so far. */
static bool greeted;    /* its version byte came */
static bool foreign;    /* and is not ours */
static bool explained;  /* it said something on stderr */
static bool asked;      /* it wants stdin */
static bool streaming;  /* and has not had all of it */
static size_t streamed; /* bytes of stdin sent */

/* ---- saying what is wrong ---- */

static void last_word(int fd, const char *bytes, size_t size) {
    struct pollfd out = {.fd = fd, .events = POLLOUT};
    if (poll(&out, 1, LAST_WORD_MS) > 0) (void)!write(fd, bytes, size); /* there is no other place */
}

/* Where the line goes. One text on Docker's stdout means that there is nothing here, for whoever asked to be quiet. */
static int stream_of_line(void) {
    static const char docker[] = "docker-credential-", nothing[] = "credentials not found in native keychain\n";
    if (strncmp(name, docker, sizeof docker - 1) != 0) return STDERR_FILENO;
    const char *quiet = getenv("JUNIPER_QUIET");
    if (quiet == NULL || *quiet == '\0' || strcmp(quiet, "0") == 0) return STDOUT_FILENO;
    last_word(STDOUT_FILENO, nothing, sizeof nothing - 1);
    return STDERR_FILENO;
}

/*
 * Google's libraries read standard error as if it were output, and a failure as JSON with status 0 (AIP-4117). What is no
 * ASCII of a path is not told, for it may be no UTF-8.
 */
static _Noreturn void fail_as_json(const char *line, size_t size) {
    char answer[2304];
    int at = snprintf(answer, sizeof answer, "{\"version\": 1, \"success\": false, \"code\": \"503\", \"message\": \"");
    for (size_t i = 0; i < size; i++) {
        if (line[i] == '"' || line[i] == '\\') answer[at++] = '\\';
        answer[at++] = (unsigned char)line[i] < 127 ? line[i] : '?';
    }
    at += snprintf(answer + at, sizeof answer - (size_t)at, "\"}\n");
    last_word(STDOUT_FILENO, answer, (size_t)at);
    exit(0);
}

_Noreturn void fail(const char *cure, const char *what, ...) {
    char line[1024];
    int size = snprintf(line, sizeof line, "%.64s: ", name);
    va_list values;
    va_start(values, what);
    vsnprintf(line + size, 512, what, values);
    va_end(values);
    size = (int)strlen(line);
    size += snprintf(line + size, sizeof line - (size_t)size, "; %s\n", cure);
    for (int i = 0; i < size - 1; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 127) line[i] = '?';
    if (for_library) fail_as_json(line, (size_t)size - 1);
    last_word(stream_of_line(), line, (size_t)size);
    exit(1);
}

const char *reason(int error) {
    static char text[128];
    snprintf(text, sizeof text, "%s", strerror(error));
    if (text[0] >= 'A' && text[0] <= 'Z') text[0] = (char)(text[0] - 'A' + 'a');
    return text;
}

/* An agent that breaks the frames. One that speaks another version has the better excuse, and may have given it. */
static _Noreturn void broken(const char *what) {
    if (foreign && explained) exit(1);
    if (foreign) fail(RESTART, "the agent speaks another frame version than this helper");
    fail(RESTART, "%s", what);
}

/* ---- time ---- */

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool ready(struct pollfd *fds, nfds_t count) {
    for (;;) {
        int64_t left = deadline - now_ms();
        if (left <= 0) return false;
        int found = poll(fds, count, (int)left);
        if (found > 0) return true;
        if (found < 0 && errno != EINTR) fail(ASK_STATUS, "cannot wait: %s", reason(errno));
    }
}

/* ---- the request ---- */

static void add_frame(char type, const char *bytes, size_t size) {
    request_payload += size;
    request_frames += 1;
    if (size > MAX_PAYLOAD || request_payload > MAX_REQUEST || request_frames > MAX_FRAMES)
        fail("use fewer or shorter arguments", "the arguments and variables are longer than the agent takes");
    unsigned char *at = request + request_size;
    *at++ = (unsigned char)type;
    for (int shift = 24; shift >= 0; shift -= 8) *at++ = (unsigned char)(size >> shift);
    if (size > 0) memcpy(at, bytes, size);
    request_size += HEADER + size;
}

static void build_request(int argc, char **argv) {
    request[request_size++] = VERSION;
    add_frame('a', name, strlen(name));
    for (int i = 1; i < argc; i++) add_frame('a', argv[i], strlen(argv[i]));
    for (size_t i = 0; i < sizeof VARIABLES / sizeof *VARIABLES; i++) {
        const char *value = getenv(VARIABLES[i]);
        if (value == NULL) continue;
        static char pair[MAX_PAYLOAD + 1];
        int size = snprintf(pair, sizeof pair, "%s=%s", VARIABLES[i], value);
        /* What was cut here is too long for a frame, which add_frame tells from the size alone. */
        add_frame('v', pair, size < 0 ? SIZE_MAX : (size_t)size);
    }
    add_frame('g', NULL, 0);
}

/* ---- obeying the agent ---- */

/* Sends all of it. An agent that hung up may have said why first, so that is for the reader to find. */
static void send_all(int fd, const unsigned char *bytes, size_t size) {
    while (size > 0) {
        ssize_t sent = write(fd, bytes, size);
        if (sent >= 0) {
            bytes += sent;
            size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd out = {.fd = fd, .events = POLLOUT};
            if (!ready(&out, 1)) fail(ASK_STATUS, "%s", LATE);
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return;
        } else if (errno != EINTR) {
            fail(ASK_STATUS, "cannot ask the agent: %s", reason(errno));
        }
    }
}

/* Writes to a stream of ours, by pieces that a pipe takes without blocking. A lost stderr is no reason to stop. */
static void deliver(int fd, const unsigned char *bytes, size_t size) {
    while (size > 0) {
        struct pollfd out = {.fd = fd, .events = POLLOUT};
        if (!ready(&out, 1)) fail("read all of it", "nobody took the answer within 4 s");
        ssize_t written = write(fd, bytes, size < PIPE_BUF ? size : PIPE_BUF);
        if (written >= 0) {
            bytes += written;
            size -= (size_t)written;
        } else if (errno != EINTR && errno != EAGAIN) {
            if (fd == STDERR_FILENO) return;
            fail("run it with stdout open", "cannot write the answer: %s", reason(errno));
        }
    }
}

/* Passes on one piece of stdin, or its end. */
static void pass_stdin(int fd) {
    static unsigned char piece[HEADER + MAX_PAYLOAD];
    piece[0] = 'i';
    ssize_t size = read(STDIN_FILENO, piece + HEADER, MAX_PAYLOAD);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (size < 0) fail("run it with stdin open", "cannot read stdin: %s", reason(errno));
    streamed += (size_t)size;
    if (streamed > MAX_STDIN) fail("send less", "stdin is longer than 1 MiB");
    for (int i = 0; i < 4; i++) piece[1 + i] = (unsigned char)((size_t)size >> (24 - 8 * i));
    send_all(fd, piece, HEADER + (size_t)size);
    streaming = size > 0;
}

/* Does what one frame says. A foreign agent is heard on stderr and status alone: it may not call its answer good. */
static void obey_frame(char type, const unsigned char *bytes, size_t size) {
    if (type == 'e') {
        explained = true;
        deliver(STDERR_FILENO, bytes, size);
    } else if (type == 'x' && size == 1 && !(foreign && (bytes[0] == 0 || !explained))) {
        exit(bytes[0]);
    } else if (type == 'o' && !foreign) {
        deliver(STDOUT_FILENO, bytes, size);
    } else if (type == 's' && size == 0 && !asked && !foreign) {
        asked = streaming = true;
    } else {
        broken("the agent sent a frame that this helper does not know");
    }
}

/* Obeys every whole frame in the inbox and keeps what is left over. */
static void obey_inbox(void) {
    size_t at = 0;
    if (!greeted && inbox_size > 0) {
        greeted = true;
        foreign = inbox[at++] != VERSION;
    }
    while (inbox_size - at >= HEADER) {
        const unsigned char *frame = inbox + at;
        size_t size = (size_t)frame[1] << 24 | (size_t)frame[2] << 16 | (size_t)frame[3] << 8 | frame[4];
        if (size > MAX_PAYLOAD) broken("the agent sent a frame over 65536 bytes");
        if (inbox_size - at - HEADER < size) break;
        obey_frame((char)frame[0], frame + HEADER, size);
        at += HEADER + size;
    }
    memmove(inbox, inbox + at, inbox_size - at);
    inbox_size -= at;
}

static void receive(int fd) {
    ssize_t size = read(fd, inbox + inbox_size, sizeof inbox - inbox_size);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (size <= 0 && foreign) broken("");
    if (size <= 0) fail(ASK_STATUS, "the agent ended before its answer did");
    inbox_size += (size_t)size;
    obey_inbox();
}

static _Noreturn void obey(int fd) {
    for (;;) {
        struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = streaming ? STDIN_FILENO : -1, .events = POLLIN}};
        if (!ready(fds, 2) && streaming) fail("close it, or pipe it in", "stdin did not end within 4 s");
        if (!fds[0].revents && !fds[1].revents) fail(ASK_STATUS, "%s", LATE);
        if (fds[0].revents)
            receive(fd);
        else
            pass_stdin(fd);
    }
}

/* A closed standard stream would give its number to the socket. Filled the wrong way round, it still cannot be used. */
static void fill_standard_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) exit(1);
}

int main(int argc, char **argv) {
    deadline = now_ms() + DEADLINE_MS;
    fill_standard_streams();
    signal(SIGPIPE, SIG_IGN);
    if (argc > 0) {
        const char *slash = strrchr(argv[0], '/');
        name = slash ? slash + 1 : argv[0];
    }
    for_library = strcmp(name, "juniper-google") == 0;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--access-token") == 0) for_library = false;
    struct sockaddr_un address = {0};
    find_socket(&address);
    build_request(argc, argv);
    int fd = reach_agent(&address);
    check_peer(fd, address.sun_path);
    send_all(fd, request, request_size);
    obey(fd);
}
