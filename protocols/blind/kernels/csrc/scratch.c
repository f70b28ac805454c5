/* Work memory kept between calls: fresh pages would cost as much as a small convolution. */
#include "common.h"

#define SLOTS 8

static Scratch slots[SLOTS];
static volatile int taken[SLOTS];

/* Memory of at least `size` bytes, aligned to 64, any content. 0 if there is. */
int scratch_take(Scratch *s, size_t size) {
    *s = (Scratch){0, 0};
    for (int i = 0; i < SLOTS && !s->data; i++)
        if (!__atomic_exchange_n(&taken[i], 1, __ATOMIC_ACQUIRE)) {
            *s = slots[i];
            slots[i] = (Scratch){0, 0};
            __atomic_store_n(&taken[i], 0, __ATOMIC_RELEASE);
        }
    if (s->size >= size)
        return 0;
    free(s->data);
    s->size = (size + 65535) / 65536 * 65536;
    s->data = aligned_alloc(64, s->size);
    return s->data ? 0 : -1;
}

/* Keeps up to 16 MiB a slot for the next call. */
void scratch_give(Scratch *s) {
    for (int i = 0; i < SLOTS && s->data && s->size <= (size_t)16 << 20; i++)
        if (!__atomic_exchange_n(&taken[i], 1, __ATOMIC_ACQUIRE)) {
            if (!slots[i].data) {
                slots[i] = *s;
                s->data = 0;
            }
            __atomic_store_n(&taken[i], 0, __ATOMIC_RELEASE);
        }
    free(s->data);
    s->data = 0;
}
