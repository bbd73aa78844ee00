/*
 * Faults of a disk, for a server that is started with this in LD_PRELOAD.
 *
 * Only regular files below $FAULT_BELOW are touched.  $FAULT_CONTROL names a file: while it holds
 * a number, that is the errno with which writing, syncing and creating fail.  $FAULT_SYNC is
 * "skip" to leave syncing out, or the microseconds that it takes longer.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_below(const char *path) {
    const char *below = getenv("FAULT_BELOW");
    return below && strncmp(path, below, strlen(below)) == 0;
}

static int is_ours(int fd) {
    char link[64], path[4096];
    ssize_t size;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return is_below(path);
}

/* 0, or the errno to fail with. */
static int fault(void) {
    const char *control = getenv("FAULT_CONTROL");
    char text[16] = "";
    int file;
    if (!control || (file = REAL(open)(control, O_RDONLY)) < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return atoi(text);
}

static int fails(int fd) {
    int error = is_ours(fd) ? fault() : 0;
    if (error) errno = error;
    return error;
}

ssize_t write(int fd, const void *data, size_t size) {
    return fails(fd) ? -1 : REAL(write)(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails(fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return fails(fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}

int ftruncate64(int fd, off64_t size) { return fails(fd) ? -1 : REAL(ftruncate64)(fd, size); }

/* 1 when the caller is to return without syncing, with 0 or -1. */
static int sync_fault(int fd, int *answer) {
    const char *how = getenv("FAULT_SYNC");
    *answer = 0;
    if (fails(fd)) return *answer = -1, 1;
    if (!how || !is_ours(fd)) return 0;
    if (strcmp(how, "skip") == 0) return 1;
    usleep(atoi(how));
    return 0;
}

int fsync(int fd) {
    int answer;
    return sync_fault(fd, &answer) ? answer : REAL(fsync)(fd);
}

int fdatasync(int fd) {
    int answer;
    return sync_fault(fd, &answer) ? answer : REAL(fdatasync)(fd);
}

static int open_fault(const char *path, int flags) {
    int error;
    if (!(flags & (O_WRONLY | O_RDWR | O_CREAT)) || !is_below(path)) return 0;
    if ((error = fault())) errno = error;
    return error;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    mode_t mode;
    va_start(rest, flags);
    mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_fault(path, flags) ? -1 : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    mode_t mode;
    va_start(rest, flags);
    mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_fault(path, flags) ? -1 : REAL(open64)(path, flags, mode);
}
