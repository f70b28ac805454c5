/* Convolution by plain 32-bit multiply-add; included once a level with ENGINE, TARGET, and VECTOR (bytes) set. */
#include "common.h"

#define BLOCK 16
#define PIXELS (VECTOR == 32 ? 4 : 2) /* so that the sums fit the registers */
#define PARTS (BLOCK * 4 / VECTOR)

typedef uint32_t Lanes __attribute__((vector_size(VECTOR)));

static size_t block_bytes(const Conv *c) { return (size_t)c->lines * c->run * BLOCK * 4; }

static void pack(const Conv *c, int block, const int32_t *weights, uint8_t *packed) {
    uint32_t *to = (uint32_t *)packed;
    for (int row = 0; row < c->lines; row++)
        for (size_t e = 0; e < c->run; e++)
            for (int o = 0; o < BLOCK; o++)
                *to++ = (uint32_t)weight_at(c, weights, block * BLOCK + o, row, e);
}

static void split(const Conv *c, const uint32_t *const *channel, uint8_t *const plane[3]) {
    uint32_t *to = (uint32_t *)plane[0];
    for (int x = 0; x < c->width; x++)
        for (size_t i = 0; i < c->depth; i++)
            *to++ = channel[i] ? channel[i][x] : 0;
}

TARGET static void some_pixels(const Conv *c, const View *v, size_t source, const uint8_t *packed, uint32_t *sums) {
    const Lanes *w = (const Lanes *)packed;
    Lanes acc[PIXELS][PARTS];
    memset(acc, 0, sizeof acc);
    for (int k = 0; k < c->lines; k++) {
        const uint32_t *x = (const uint32_t *)v->plane[0] + source + (size_t)k * v->pitch;
        for (size_t e = 0; e < c->run; e++, w += PARTS)
            for (int i = 0; i < PIXELS; i++) {
                uint32_t b = x[(size_t)i * v->step + e];
                for (int p = 0; p < PARTS; p++)
                    acc[i][p] += w[p] * b;
            }
    }
    memcpy(sums, acc, sizeof acc);
}

TARGET static void tiles(const Conv *c, const View *v, const Tile *t, int count, const uint8_t *w, int first,
                         uint32_t *out, size_t pitch) {
    int channels = c->out - first < BLOCK ? c->out - first : BLOCK;
    for (int n = 0; n < count; n++, t++) {
        uint32_t sums[TILE][BLOCK];
        for (int i = 0; i < t->pixels; i += PIXELS)
            some_pixels(c, v, t->source + (size_t)i * v->step, w, sums[i]);
        for (int s = 0; s < t->segments; s++)
            for (int o = 0; o < channels; o++) {
                uint32_t *at = out + t->segment[s].target + (size_t)(first + o) * pitch;
                for (int i = 0; i < t->segment[s].length; i++)
                    at[i] += sums[t->segment[s].start + i][o];
            }
    }
}

const Engine ENGINE = {BLOCK, 1, {1, 1}, {4, 0, 0}, block_bytes, pack, split, 0, tiles, 0};
