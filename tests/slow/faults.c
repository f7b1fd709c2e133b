/* Preloaded into a process: counts the calls that change or open files below some folders, and disturbs one of them.
 *
 * A site is the name of a call, the path that it is about, and how many such calls there were before: the same in every
 * run, whatever the threads do. Process and thread numbers in names of temporary files are left out of it.
 * See tests/slow/faults.py, which builds this file and explains the modes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_SITES 100000
#define LINE (2 * PATH_MAX + 100)

enum { GO_ON, FAIL, KILL };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char roots[LINE], wanted[LINE], mode[16];
static int log_file = -1, full;
static char *seen[MAX_SITES];
static int counts[MAX_SITES], n_seen;

/* Watch the folders in `where`, separated by colons, and disturb the call `site` ("" for none). The calls are appended
 * to the file `log` ("" for none). */
void faults_arm(const char *where, const char *site, const char *how, const char *log)
{
    snprintf(roots, sizeof roots, "%s", where);
    snprintf(wanted, sizeof wanted, "%s", site);
    snprintf(mode, sizeof mode, "%s", how);
    log_file = *log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
}

/* Processes that the watched one starts are watched, too. */
__attribute__((constructor)) static void arm_from_environment(void)
{
    const char *where = getenv("FAULTS_ROOTS");
    if (where)
        faults_arm(where, getenv("FAULTS_SITE"), getenv("FAULTS_MODE"), getenv("FAULTS_LOG"));
}

static void make_absolute(char *out, int folder, const char *path)
{
    char link[64], base[PATH_MAX];
    ssize_t n = 0;
    if (*path != '/') {
        if (folder == AT_FDCWD)
            snprintf(link, sizeof link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        n = readlink(link, base, sizeof base - 1);
    }
    base[n > 0 ? n : 0] = 0;
    if (n > 0 && *path)
        snprintf(out, PATH_MAX, "%s/%s", base, path);
    else
        snprintf(out, PATH_MAX, "%s%s", base, path);
}

static int is_watched(const char *path)
{
    for (const char *root = roots; *root;) {
        size_t n = strcspn(root, ":");
        if (n && !strncmp(path, root, n) && (!path[n] || path[n] == '/'))
            return 1;
        root += n + (root[n] == ':');
    }
    return 0;
}

/* Replace each number in the name of a temporary file. */
static void drop_numbers(char *path)
{
    char *name = strrchr(path, '/');
    if (!name || !(strstr(name, ".part") || strstr(name, "tmp")))
        return;
    char *to = name;
    for (char *from = name; *from; from++) {
        int is_digit = *from >= '0' && *from <= '9';
        if (!is_digit)
            *to++ = *from;
        else if (to == name || to[-1] != '#')
            *to++ = '#';
    }
    *to = 0;
}

static int takes_space(const char *call)
{
    return strstr(call, "write") || strstr(call, "copy") || strstr(call, "create") || strstr(call, "mkdir")
        || strstr(call, "link-") || strstr(call, "truncate") || strstr(call, "fallocate");
}

static int decide(const char *call, const char *path)
{
    char site[LINE], clean[PATH_MAX];
    int action = GO_ON;
    if (!*roots || !is_watched(path))
        return GO_ON;
    snprintf(clean, sizeof clean, "%s", path);
    drop_numbers(clean);
    snprintf(site, sizeof site, "%s %s", call, clean);
    pthread_mutex_lock(&mutex);
    int i = 0;
    while (i < n_seen && strcmp(seen[i], site))
        i++;
    if (i == n_seen && n_seen < MAX_SITES)
        seen[n_seen++] = strdup(site);
    int count = counts[i]++;
    pthread_mutex_unlock(&mutex);
    size_t n = strlen(site);
    snprintf(site + n, sizeof site - n, " %d", count);
    if (log_file >= 0) {
        strcat(site, "\n");
        syscall(SYS_write, log_file, site, strlen(site));
        site[strlen(site) - 1] = 0;
    }
    int is_here = !strcmp(site, wanted);
    if (is_here && !strcmp(mode, "kill"))
        action = KILL;
    else if (is_here || (full && takes_space(call)))
        action = FAIL;
    if (is_here && !strcmp(mode, "full"))
        full = 1;
    return action;
}

static int fail(void)
{
    errno = !strcmp(mode, "EIO") ? EIO : ENOSPC;
    return -1;
}

static void end_if(int action)
{
    if (action == KILL)
        syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

static int decide_fd(const char *call, int file)
{
    char link[64], path[PATH_MAX];
    if (!*roots)
        return GO_ON;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0)
        return GO_ON;
    path[n] = 0;
    char *deleted = strstr(path, " (deleted)");
    if (deleted)
        *deleted = 0;
    return decide(call, path);
}

static int decide_at(const char *call, int folder, const char *path)
{
    char absolute[PATH_MAX];
    if (!*roots || !path)
        return GO_ON;
    make_absolute(absolute, folder, path);
    return decide(call, absolute);
}

#define REAL(type, name) \
    static type (*real)(); \
    if (!real) \
        real = (type (*)())dlsym(RTLD_NEXT, #name)

#define WRAP(type, failed, name, parameters, arguments, action) \
    type name parameters \
    { \
        REAL(type, name); \
        int act = action; \
        if (act == FAIL) { \
            fail(); \
            return failed; \
        } \
        type result = real arguments; \
        int saved = errno; \
        end_if(act); \
        errno = saved; \
        return result; \
    }

/* Opening. "create" is one that makes a file, "open" any other. */
static const char *name_open(int flags) { return flags & O_CREAT ? "create" : "open"; }

#define OPEN(name, parameters, folder, arguments) \
    int name parameters \
    { \
        REAL(int, name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t bits = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        int act = decide_at(name_open(flags), folder, path); \
        if (act == FAIL) \
            return fail(); \
        int result = real arguments, saved = errno; \
        end_if(act); \
        errno = saved; \
        return result; \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD, (path, flags, bits))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, (path, flags, bits))
OPEN(openat, (int folder, const char *path, int flags, ...), folder, (folder, path, flags, bits))
OPEN(openat64, (int folder, const char *path, int flags, ...), folder, (folder, path, flags, bits))
WRAP(int, -1, creat, (const char *path, mode_t bits), (path, bits), decide_at("create", AT_FDCWD, path))
WRAP(int, -1, creat64, (const char *path, mode_t bits), (path, bits), decide_at("create", AT_FDCWD, path))
WRAP(FILE *, NULL, fopen, (const char *path, const char *how), (path, how), decide_at(*how == 'r' ? "open" : "create", AT_FDCWD, path))
WRAP(FILE *, NULL, fopen64, (const char *path, const char *how), (path, how), decide_at(*how == 'r' ? "open" : "create", AT_FDCWD, path))

/* Writing. */
WRAP(ssize_t, -1, write, (int file, const void *from, size_t n), (file, from, n), decide_fd("write", file))
WRAP(ssize_t, -1, pwrite, (int file, const void *from, size_t n, off_t at), (file, from, n, at), decide_fd("write", file))
WRAP(ssize_t, -1, pwrite64, (int file, const void *from, size_t n, off64_t at), (file, from, n, at), decide_fd("write", file))
WRAP(ssize_t, -1, writev, (int file, const struct iovec *v, int n), (file, v, n), decide_fd("write", file))
WRAP(ssize_t, -1, pwritev, (int file, const struct iovec *v, int n, off_t at), (file, v, n, at), decide_fd("write", file))
WRAP(ssize_t, -1, pwritev64, (int file, const struct iovec *v, int n, off64_t at), (file, v, n, at), decide_fd("write", file))
WRAP(size_t, 0, fwrite, (const void *from, size_t size, size_t n, FILE *file), (from, size, n, file), decide_fd("write", fileno(file)))
WRAP(int, EOF, fflush, (FILE *file), (file), file ? decide_fd("write", fileno(file)) : GO_ON)
WRAP(ssize_t, -1, copy_file_range, (int in, off64_t *a, int out, off64_t *b, size_t n, unsigned flags), (in, a, out, b, n, flags), decide_fd("copy", out))
WRAP(ssize_t, -1, sendfile, (int out, int in, off_t *at, size_t n), (out, in, at, n), decide_fd("copy", out))
WRAP(ssize_t, -1, sendfile64, (int out, int in, off64_t *at, size_t n), (out, in, at, n), decide_fd("copy", out))
WRAP(int, -1, ftruncate, (int file, off_t n), (file, n), decide_fd("ftruncate", file))
WRAP(int, -1, ftruncate64, (int file, off64_t n), (file, n), decide_fd("ftruncate", file))
WRAP(int, -1, truncate, (const char *path, off_t n), (path, n), decide_at("truncate", AT_FDCWD, path))
WRAP(int, -1, truncate64, (const char *path, off64_t n), (path, n), decide_at("truncate", AT_FDCWD, path))
WRAP(int, -1, fallocate, (int file, int how, off_t at, off_t n), (file, how, at, n), decide_fd("fallocate", file))
WRAP(int, -1, fallocate64, (int file, int how, off64_t at, off64_t n), (file, how, at, n), decide_fd("fallocate", file))
WRAP(int, errno, posix_fallocate, (int file, off_t at, off_t n), (file, at, n), decide_fd("fallocate", file))
WRAP(int, errno, posix_fallocate64, (int file, off64_t at, off64_t n), (file, at, n), decide_fd("fallocate", file))
WRAP(int, -1, fsync, (int file), (file), decide_fd("fsync", file))
WRAP(int, -1, fdatasync, (int file), (file), decide_fd("fsync", file))

/* Names. A rename is about the path that it makes. */
WRAP(int, -1, rename, (const char *from, const char *to), (from, to), decide_at("rename", AT_FDCWD, to))
WRAP(int, -1, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), decide_at("rename", b, to))
WRAP(int, -1, renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags), decide_at("rename", b, to))
WRAP(int, -1, link, (const char *from, const char *to), (from, to), decide_at("link-", AT_FDCWD, to))
WRAP(int, -1, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), decide_at("link-", b, to))
WRAP(int, -1, symlink, (const char *from, const char *to), (from, to), decide_at("link-", AT_FDCWD, to))
WRAP(int, -1, symlinkat, (const char *from, int b, const char *to), (from, b, to), decide_at("link-", b, to))
WRAP(int, -1, unlink, (const char *path), (path), decide_at("unlink", AT_FDCWD, path))
WRAP(int, -1, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), decide_at(flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, path))
WRAP(int, -1, remove, (const char *path), (path), decide_at("unlink", AT_FDCWD, path))
WRAP(int, -1, rmdir, (const char *path), (path), decide_at("rmdir", AT_FDCWD, path))
WRAP(int, -1, mkdir, (const char *path, mode_t bits), (path, bits), decide_at("mkdir", AT_FDCWD, path))
WRAP(int, -1, mkdirat, (int folder, const char *path, mode_t bits), (folder, path, bits), decide_at("mkdir", folder, path))
