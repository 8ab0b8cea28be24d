/*
 * The helper's frame reader over bytes alone: juniper.c as it is, whose way out and whose streams are ours here.
 *
 * However the bytes are cut into pieces, the helper must write the same and end the same; and an agent of another
 * version is never heard on stdout, nor believed that all is well.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST = 1 << 17, GOES_ON = -1 };

struct stream {
    unsigned char bytes[2 * LONGEST];
    size_t size;
};

struct outcome {
    struct stream out, err;
    int status;
};

static struct outcome whole, pieces, *now;
static jmp_buf over;

static _Noreturn void leave(int status) {
    now->status = status;
    longjmp(over, 1);
}

static int always_ready(struct pollfd *fds, nfds_t count, int patience) {
    (void)fds, (void)count, (void)patience;
    return 1;
}

static ssize_t keep(int fd, const void *bytes, size_t size) {
    struct stream *stream = fd == STDOUT_FILENO ? &now->out : &now->err;
    if ((fd != STDOUT_FILENO && fd != STDERR_FILENO) || size > sizeof stream->bytes - stream->size) abort();
    memcpy(stream->bytes + stream->size, bytes, size);
    stream->size += size;
    return (ssize_t)size;
}

#define main helper_main
#define exit leave
#define poll always_ready
#define write keep
#include "../../helpers/juniper.c"
#undef main
#undef exit
#undef poll
#undef write

static void obey_pieces(struct outcome *outcome, const uint8_t *data, size_t size, size_t most) {
    now = outcome;
    now->out.size = now->err.size = inbox_size = streamed = 0;
    now->status = GOES_ON;
    greeted = foreign = explained = asked = streaming = false;
    deadline = now_ms() + DEADLINE_MS;
    if (setjmp(over)) return;
    while (size > 0) {
        size_t room = sizeof inbox - inbox_size, piece = size < most ? size : most;
        if (piece > room) piece = room;
        if (piece == 0) abort(); /* nothing more fits, and nothing was obeyed: the helper would wait for ever */
        memcpy(inbox + inbox_size, data, piece);
        inbox_size += piece;
        data += piece;
        size -= piece;
        obey_inbox();
    }
}

static bool same(const struct stream *one, const struct stream *other) {
    return one->size == other->size && memcmp(one->bytes, other->bytes, one->size) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > LONGEST) return -1;
    obey_pieces(&whole, data, size, LONGEST);
    obey_pieces(&pieces, data, size, size > 4096 ? size / 61 + 1 : 1);
    if (whole.status != pieces.status || !same(&whole.out, &pieces.out) || !same(&whole.err, &pieces.err)) abort();
    if (size > 0 && data[0] != VERSION && (whole.out.size > 0 || whole.status == 0)) abort();
    return 0;
}
