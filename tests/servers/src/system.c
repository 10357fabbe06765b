/* A system that fails where a test says: loaded into the host by LD_PRELOAD.
 *
 * In the directory of the variable SYSTEM_FAULTS
 *   `flush`  if it is there, fsync and fdatasync answer EIO and flush nothing;
 *   `clock`  the seconds by which the wall clock is off.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char *path(char *buffer, size_t size, const char *name) {
    const char *directory = getenv("SYSTEM_FAULTS");
    snprintf(buffer, size, "%s/%s", directory ? directory : "", name);
    return buffer;
}

static int flush_fails(void) {
    char buffer[4096];
    return access(path(buffer, sizeof buffer, "flush"), F_OK) == 0;
}

static int flush(const char *name, int file) {
    if (flush_fails()) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(file);
}

int fsync(int file) { return flush("fsync", file); }

int fdatasync(int file) { return flush("fdatasync", file); }

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
