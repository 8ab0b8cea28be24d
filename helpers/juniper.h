/* What the helper's two files share. */
#ifndef JUNIPER_H
#define JUNIPER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#define ASK_STATUS "run: juniper status"
#define LATE "the agent did not answer within 4 s"

/* When this call must have ended, on the clock of now_ms. */
extern int64_t deadline;

/* Ends the program with `NAME: WHAT; CURE` on stderr: one line, whatever bytes a path or a name may hold. */
__attribute__((format(printf, 2, 3))) _Noreturn void fail(const char *cure, const char *what, ...);

/* The system's words for an error, in lower case as the rest of the line is. */
const char *reason(int error);

/* A clock that only goes forward, in milliseconds. */
int64_t now_ms(void);

/* Waits until one of the descriptors is ready; false once the deadline has passed. */
bool ready(struct pollfd *fds, nfds_t count);

/* Where the agent's socket is for this caller. */
void find_socket(struct sockaddr_un *address);

/* A connected socket that never blocks; starts the agent where none answers and that is ours to do. */
int reach_agent(const struct sockaddr_un *address);

/* Nobody but this user may be asked: whoever answers here hands out credentials. */
void check_peer(int fd, const char *path);

#endif
