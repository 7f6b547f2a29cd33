// What must run at the driver's own speed: launches in a loop, and serving software faults.
//     cc -O2 -shared -fPIC -o host.so host.c

#include <stddef.h>
#include <time.h>

typedef int (*Launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                      void *, void **, void **);
typedef int (*SetContext)(void *);
typedef int (*Copy)(unsigned long long, const void *, size_t, void *);
typedef int (*Write)(void *, unsigned long long, unsigned, unsigned);

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

/// Seconds that the host needs for `count` launches of one block; negative if one was refused.
double launchLoop(Launch launch, void *kernel, void *stream, int count) {
    double begin = now();
    for (int i = 0; i < count; ++i)
        if (launch(kernel, 1, 1, 1, 32, 1, 1, 0, stream, NULL, NULL)) return -1;
    return now() - begin;
}

struct Faults {
    Copy copy;
    Write write;
    SetContext setContext;
    void *context, *stream;
    volatile unsigned *mailbox;      // one word for each block, 128 bytes apart; also `served`
    unsigned long long served;
    const unsigned long long *sources, *slots;  // where each page is on the host, and on the device
    const unsigned *bytes;           // of each page
    unsigned boxes;
    volatile int stop;
    long long count;
    int failed;
};

/// Copies pages that the device asks for until told to stop.
void serveFaults(struct Faults *f) {
    unsigned last[1024] = {0};
    f->setContext(f->context);
    while (!f->stop && !f->failed)
        for (unsigned box = 0; box < f->boxes; ++box) {
            unsigned request = f->mailbox[box * 32];
            if (request == last[box]) continue;
            last[box] = request;
            size_t page = (request & 0xfffff) - 1;
            const void *from = (const void *)f->sources[page];
            f->failed = f->copy(f->slots[page], from, f->bytes[page], f->stream);
            if (!f->failed) f->failed = f->write(f->stream, f->served + box * 128, request, 0);
            if (f->failed) return;
            ++f->count;
        }
}
