/*
 * The launcher of the folder that brings its own interpreter: one program under the names juniper, juniperd and python3.
 *
 * It finds its folder by the kernel's own link to itself, wherever that lies, and becomes the interpreter there by the
 * loader there: nothing of the system's libraries is needed, no shell, and no variable of the caller's chooses a library.
 * The loader's variables go on under another name, for the command that juniper itself may have to start.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASIDE "JUNIPER_ASIDE_"

extern char **environ;

static char folder[PATH_MAX];
static const char *name = "juniper";

static _Noreturn void fail(const char *what, const char *cure) {
    dprintf(STDERR_FILENO, "%.64s: %s; %s\n", name, what, cure);
    _exit(1);
}

/* The folder above this program's own, and the name that the program has there. */
static void find_folder(void) {
    ssize_t size = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (size <= 0) fail("/proc is not mounted, so its own folder is not found", "mount -t proc proc /proc");
    folder[size] = '\0';
    char *slash = strrchr(folder, '/');
    /* As of a file in memory, or of one outside of this process's root. */
    if (folder[0] != '/' || slash == folder) fail("it lies in no folder of its own", "unpack the whole folder again");
    name = slash + 1;
    *slash = '\0';
    *strrchr(folder, '/') = '\0';
    /* ld.so(8) parts a list of folders at these, and puts values in the place of a dollar. */
    if (strpbrk(folder, ":;$") != NULL) fail("its folder's path has a colon, a semicolon or a dollar", "move the folder");
}

static char *below(const char *path) {
    char *found = malloc(strlen(folder) + strlen(path) + 2);
    if (found == NULL) fail("no memory", "try again");
    sprintf(found, "%s/%s", folder, path);
    return found;
}

static bool steers_loader(const char *pair) {
    return strncmp(pair, "LD_", 3) == 0 || strncmp(pair, "GLIBC_TUNABLES=", 15) == 0;
}

static void set_aside(void) {
    for (char **pair = environ; *pair != NULL; pair++) {
        if (!steers_loader(*pair)) continue;
        char *renamed = malloc(sizeof ASIDE + strlen(*pair));
        if (renamed == NULL) fail("no memory", "try again");
        sprintf(renamed, ASIDE "%s", *pair);
        *pair = renamed;
    }
}

int main(int argc, char **argv) {
    find_folder();
    set_aside();
    char *words[argc + 10];
    int count = 0;
    words[count++] = below("lib/shared/loader");
    words[count++] = "--inhibit-cache";
    words[count++] = "--library-path";
    words[count++] = below("lib/shared");
    words[count++] = "--argv0";
    words[count++] = below("lib/python3"); /* this program again, where the interpreter starts itself anew */
    words[count++] = below("lib/shared/python");
    if (strcmp(name, "python3") != 0) {
        char script[NAME_MAX + 16];
        snprintf(script, sizeof script, "lib/programs/%.64s", name);
        words[count++] = "-IS";
        words[count++] = below(script);
    }
    for (int i = 1; i < argc; i++) words[count++] = argv[i];
    words[count] = NULL;
    execve(words[0], words, environ);
    fail(strerror(errno), "unpack the whole folder again, on a file system whose programs may be run");
}
