// Waits in both ways that there are: sleeps 50 ms, then polls standard input with a timeout, and prints how long the
// first took in whole milliseconds.
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(void) {
    long long start = now();
    struct timespec wanted = {.tv_nsec = 50000000};
    if (nanosleep(&wanted, NULL) != 0)
        return 1;
    printf("slept %lld ms\n", (now() - start) / 1000000);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&input, 1, 1000) != 1 || !(input.revents & POLLIN))
        return 2;
    printf("input is ready\n");
    return 0;
}
