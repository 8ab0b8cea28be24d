/*
 * Where the agent is, whose it is, and how it is started when nobody is there.
 */
#ifdef __APPLE__
#define _DARWIN_C_SOURCE
#include <mach-o/dyld.h>
#else
#define _GNU_SOURCE
#include <sys/syscall.h>
#endif
#include "juniper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RETRY_MS = 10 };

/* An empty variable counts as unset. */
static const char *variable(const char *key) {
    const char *value = getenv(key);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

void find_socket(struct sockaddr_un *address) {
    const char *session = variable("JUNIPER_SESSION_SOCKET"), *chosen = session ? session : variable("JUNIPER_SOCKET");
    const char *runtime = variable("XDG_RUNTIME_DIR"), *home = variable("HOME");
    char path[PATH_MAX];
    int size;
    if (chosen != NULL)
        size = snprintf(path, sizeof path, "%s", chosen);
    else if (runtime != NULL && runtime[0] == '/') /* the XDG specification has relative ones ignored */
        size = snprintf(path, sizeof path, "%s/juniper/agent.sock", runtime);
    else if (home != NULL)
        size = snprintf(path, sizeof path, "%s/.local/state/juniper/run/agent.sock", home);
    else
        fail("set HOME", "cannot tell where the agent's socket is");
    int limit = (int)sizeof address->sun_path - 1;
    if (size < 0 || size > limit)
        fail(session ? "set JUNIPER_SESSION_SOCKET to a shorter path" : "set JUNIPER_SOCKET to a shorter path",
             "the path of the agent's socket has %d bytes, %d are allowed", size, limit);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, (size_t)size + 1);
}

void check_peer(int fd, const char *path) {
    uid_t owner;
#ifdef __linux__
    struct ucred peer;
    socklen_t size = sizeof peer;
    int failed = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    owner = peer.uid;
#else
    gid_t group;
    int failed = getpeereid(fd, &owner, &group);
#endif
    const char *cure = variable("JUNIPER_SESSION_SOCKET") ? "unset JUNIPER_SESSION_SOCKET"
                                                          : "set JUNIPER_SOCKET to a socket of your own agent";
    if (failed) fail(cure, "cannot tell who answers at %s: %s", path, reason(errno));
    if (owner != geteuid()) fail(cure, "the agent at %s belongs to uid %lu, not to you", path, (unsigned long)owner);
}

/* ---- starting the agent ---- */

/* The path of the juniperd beside this program's own file; never one from PATH. False if there is none. */
static bool find_agent(char *path, size_t room) {
#ifdef __APPLE__
    char asked_for[PATH_MAX];
    uint32_t asked_room = sizeof asked_for;
    if (room < PATH_MAX || _NSGetExecutablePath(asked_for, &asked_room) != 0 || realpath(asked_for, path) == NULL)
        return false;
#else
    ssize_t size = readlink("/proc/self/exe", path, room - 1);
    if (size <= 0) return false;
    path[size] = '\0';
#endif
    char *folder_end = strrchr(path, '/');
    if (folder_end == NULL) return false;
    size_t left = room - (size_t)(folder_end + 1 - path);
    struct stat file;
    return snprintf(folder_end + 1, left, "juniperd") < (int)left && stat(path, &file) == 0 && S_ISREG(file.st_mode) &&
           access(path, X_OK) == 0;
}

/* Its whole environment: a repository's .envrc must not choose the agent's configuration, proxy or CA. */
static char **agent_environment(void) {
    static const char *const kept[] = {"HOME", "USER", "XDG_RUNTIME_DIR", "LANG", "DBUS_SESSION_BUS_ADDRESS"};
    enum { KEPT = sizeof kept / sizeof *kept };
    static char *environment[KEPT + 1];
    extern char **environ;
    size_t count = 0;
    for (char **pair = environ; *pair != NULL && count < KEPT; pair++)
        for (size_t i = 0; i < KEPT; i++) {
            size_t size = strlen(kept[i]);
            if (strncmp(*pair, kept[i], size) == 0 && (*pair)[size] == '=') environment[count++] = *pair;
        }
    return environment;
}

static void close_all_but_standard(void) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 3, ~0U, 0) == 0) return; /* Linux 5.9 */
#endif
    for (long fd = 3, end = sysconf(_SC_OPEN_MAX); fd < end; fd++) close((int)fd);
}

/* In the child's child: nothing of the caller's terminal, pipes, folder or variables stays with the agent. */
static _Noreturn void become_agent(char *path) {
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || chdir("/") != 0) _exit(1);
    close_all_but_standard();
    umask(077);
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    char *argv[] = {path, NULL};
    execve(path, argv, agent_environment());
    _exit(1);
}

/* Starts the agent with no parent to outlive and no child to reap. Two starters are made one by the agent's lock. */
static void start_agent(const char *address) {
    char path[PATH_MAX];
    if (!find_agent(path, sizeof path))
        fail("run: juniper up", "no agent answers at %s and no juniperd lies beside this helper", address);
    signal(SIGCHLD, SIG_DFL); /* where the caller ignores it, waitpid finds nobody */
    pid_t child = fork();
    if (child == 0) {
        setsid();
        pid_t grandchild = fork();
        if (grandchild == 0) become_agent(path);
        _exit(grandchild < 0);
    }
    int status = 1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    if (child < 0 || status != 0) fail("run: juniper up", "cannot start the agent: no new process");
}

/* ---- reaching it ---- */

/* Nobody listens there: starts the agent where that is ours to do, else says what ended and how it begins again. */
static void no_agent(const char *path) {
    if (variable("JUNIPER_SESSION_SOCKET")) fail("run: juniper session open", "the session has ended");
    if (variable("JUNIPER_SOCKET") || variable("JUNIPER_CONFIG"))
        fail("run: juniper up", "no agent answers at %s", path);
    start_agent(path);
}

int reach_agent(const struct sockaddr_un *address) {
    bool started = false;
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) fail(ASK_STATUS, "cannot make a socket: %s", reason(errno));
        if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0) return fd;
        int error = errno;
        close(fd);
        bool absent = error == ENOENT || error == ECONNREFUSED;
        if (absent && !started) {
            no_agent(address->sun_path);
            started = true;
        } else if (!absent && error != EAGAIN && error != EINTR) { /* EAGAIN: its queue is full */
            fail(ASK_STATUS, "cannot reach the agent at %s: %s", address->sun_path, reason(error));
        }
        if (now_ms() >= deadline && absent) fail("run: juniper up", "the agent did not start within 4 s");
        if (now_ms() >= deadline) fail(ASK_STATUS, "%s", LATE);
        poll(NULL, 0, RETRY_MS);
    }
}
