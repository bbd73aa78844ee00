/* Preloaded into a server under test: makes every fsync and fdatasync take longer, as an
 * ordinary disk would. SLOW_FSYNC_US is the added time in microseconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef int (*sync_call)(int);

static void wait_as_a_disk(void)
{
    const char *added = getenv("SLOW_FSYNC_US");
    long us = added ? strtol(added, NULL, 10) : 0;
    struct timespec left = {us / 1000000, (us % 1000000) * 1000};

    while (us > 0 && nanosleep(&left, &left) != 0)
        ;
}

int fsync(int fd)
{
    static sync_call real;

    if (!real)
        real = (sync_call)dlsym(RTLD_NEXT, "fsync");
    wait_as_a_disk();
    return real(fd);
}

int fdatasync(int fd)
{
    static sync_call real;

    if (!real)
        real = (sync_call)dlsym(RTLD_NEXT, "fdatasync");
    wait_as_a_disk();
    return real(fd);
}
