/* A system that fails where a test says: loaded into the host by LD_PRELOAD.
 *
 * In the directory of the variable SYSTEM_FAULTS
 *   `flush`      if it is there, fsync and fdatasync answer EIO and flush nothing;
 *   `read-only`  if it is there, files cannot be opened for writing, and what is open
 *                cannot be written at a place: EROFS, as after ext4's `errors=remount-ro`;
 *   `clock`      the seconds by which the wall clock is off.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char *path(char *buffer, size_t size, const char *name) {
    const char *directory = getenv("SYSTEM_FAULTS");
    snprintf(buffer, size, "%s/%s", directory ? directory : "", name);
    return buffer;
}

static int is_set(const char *name) {
    char buffer[4096];
    return access(path(buffer, sizeof buffer, name), F_OK) == 0;
}

static int flush(const char *name, int file) {
    if (is_set("flush")) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(file);
}

int fsync(int file) { return flush("fsync", file); }

int fdatasync(int file) { return flush("fdatasync", file); }

static int is_read_only(void) {
    if (!is_set("read-only"))
        return 0;
    errno = EROFS;
    return 1;
}

static int open_file(const char *name, const char *file, int flags, mode_t mode) {
    if ((flags & O_ACCMODE) != O_RDONLY && is_read_only())
        return -1;
    int (*real)(const char *, int, mode_t) = (int (*)(const char *, int, mode_t))dlsym(RTLD_NEXT, name);
    return real(file, flags, mode);
}

/* The mode is there only where a file may be made. */
#define OPEN(name)                                                                                \
    int name(const char *file, int flags, ...) {                                                  \
        va_list more;                                                                             \
        va_start(more, flags);                                                                    \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                 \
        va_end(more);                                                                             \
        return open_file(#name, file, flags, mode);                                               \
    }

OPEN(open)
OPEN(open64)

static ssize_t write_at(const char *name, int file, const void *bytes, size_t count, off_t place) {
    if (is_read_only())
        return -1;
    ssize_t (*real)(int, const void *, size_t, off_t) =
        (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, name);
    return real(file, bytes, count, place);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t place) {
    return write_at("pwrite", file, bytes, count, place);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off_t place) {
    return write_at("pwrite64", file, bytes, count, place);
}

static long shift(void) {
    char buffer[4096];
    long seconds = 0;
    FILE *file = fopen(path(buffer, sizeof buffer, "clock"), "r");
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1)
            seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME)
        time->tv_sec += shift();
    return result;
}
