/* Convolution by AMX: x in three unsigned bytes, w in two (the upper one signed) or three (wide, unsigned).
 *
 * Of the products x_i * w_j those with i + j <= 2 matter mod 2^24: five or six tile products a step of 64
 * elements. Sums of equal i + j share an accumulator, which wraps mod 2^32: of the sum that is shifted by
 * 8 * (i + j) only the lower 24 - 8 * (i + j) bits are wanted.
 */
#include "common.h"

#if CRYPDOC_X86
#include "simd.h"

#define AMX __attribute__((target("amx-tile,amx-int8," AVX512)))
/* The compilers' tile intrinsics do not say what memory they read: what was written before is in place here. */
#define SETTLE(memory) __asm__ volatile("" : : "r"(memory) : "memory")
#define STEP_BYTES 1024 /* a tile of weights: 16 quads x 16 output channels x 4 bytes */

static size_t block_bytes(const Conv *c) {
    return (size_t)c->lines * c->run_padded / 64 * STEP_BYTES * (c->wide ? 3 : 2);
}

/* [line][step][byte of the weight][quad][output channel][4] */
static void pack(const Conv *c, int block, const int32_t *weights, uint8_t *packed) {
    int bytes = c->wide ? 3 : 2;
    for (int row = 0; row < c->lines; row++)
        for (size_t step = 0; step < c->run_padded; step += 64, packed += (size_t)bytes * STEP_BYTES)
            for (size_t e = 0; e < 64; e++)
                for (int o = 0; o < 16; o++) {
                    uint32_t w = (uint32_t)weight_at(c, weights, block * 16 + o, row, step + e);
                    for (int b = 0; b < bytes; b++)
                        packed[(size_t)b * STEP_BYTES + e / 4 * 64 + (size_t)o * 4 + e % 4] = (uint8_t)(w >> (8 * b));
                }
}

#define BYTES static inline __attribute__((always_inline, target("avx512vbmi," AVX512)))

/* Four channels of 16 pixels to their bytes: made[p] has in lane i the bytes p of pixel i, channel by channel. */
BYTES void quad(const uint32_t *const *channel, int channels, size_t x, __mmask16 pixels, __m512i made[3]) {
    static const uint8_t lower[4] = {0, 64, 1, 65}, upper[4] = {2, 66, 3, 67};
    uint32_t low_word, high_word;
    memcpy(&low_word, lower, 4);
    memcpy(&high_word, upper, 4);
    __m512i step = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                      _mm512_set1_epi32(0x04040404));
    __m512i low = _mm512_add_epi32(step, _mm512_set1_epi32((int)low_word)), v[4];
    __m512i high = _mm512_add_epi32(step, _mm512_set1_epi32((int)high_word)), half = _mm512_set1_epi32(0xffff);
    for (int i = 0; i < 4; i++)
        v[i] = i < channels && channel[i] ? _mm512_maskz_loadu_epi32(pixels, channel[i] + x) : _mm512_setzero_si512();
    __m512i ab = _mm512_permutex2var_epi8(v[0], low, v[1]), cd = _mm512_permutex2var_epi8(v[2], low, v[3]);
    made[0] = _mm512_or_si512(_mm512_and_si512(ab, half), _mm512_slli_epi32(cd, 16));
    made[1] = _mm512_or_si512(_mm512_srli_epi32(ab, 16), _mm512_andnot_si512(half, cd));
    ab = _mm512_permutex2var_epi8(v[0], high, v[1]);
    cd = _mm512_permutex2var_epi8(v[2], high, v[3]);
    made[2] = _mm512_or_si512(_mm512_and_si512(ab, half), _mm512_slli_epi32(cd, 16));
}

BYTES void put(uint8_t *plane, size_t depth, int pixel, int pixels, __mmask16 keep, __m128i bytes) {
    if (pixel < pixels)
        _mm_mask_storeu_epi8(plane + (size_t)pixel * depth, keep, bytes);
}

/* 16 pixels of four quads, pixel i's in lane i, to 16 bytes a pixel. */
BYTES void store_pixels(uint8_t *plane, size_t depth, int pixels, __mmask16 keep, __m512i q0, __m512i q1, __m512i q2,
                        __m512i q3) {
    __m512i a = _mm512_unpacklo_epi32(q0, q1), b = _mm512_unpackhi_epi32(q0, q1);
    __m512i c = _mm512_unpacklo_epi32(q2, q3), d = _mm512_unpackhi_epi32(q2, q3);
    __m512i r[4] = {_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c), _mm512_unpacklo_epi64(b, d),
                    _mm512_unpackhi_epi64(b, d)};
    for (int i = 0; i < 4; i++) { /* r[i] holds pixels i, 4 + i, 8 + i, 12 + i */
        put(plane, depth, i, pixels, keep, _mm512_castsi512_si128(r[i]));
        put(plane, depth, 4 + i, pixels, keep, _mm512_extracti32x4_epi32(r[i], 1));
        put(plane, depth, 8 + i, pixels, keep, _mm512_extracti32x4_epi32(r[i], 2));
        put(plane, depth, 12 + i, pixels, keep, _mm512_extracti32x4_epi32(r[i], 3));
    }
}

__attribute__((target("avx512vbmi," AVX512))) static void split(const Conv *c, const uint32_t *const *channel,
                                                                uint8_t *const plane[3]) {
    int depth = (int)c->depth;
    for (int x = 0; x < c->width; x += 16) {
        int pixels = c->width - x < 16 ? c->width - x : 16;
        __mmask16 some = (__mmask16)((1u << pixels) - 1);
        for (int first = 0; first < depth; first += 16) {
            __m512i q[4][3];
            __mmask16 keep = (__mmask16)(depth - first < 16 ? (1u << (depth - first)) - 1 : 0xffff);
            for (int i = 0; i < 4; i++)
                quad(channel + first + 4 * i, depth - first - 4 * i, (size_t)x, some, q[i]);
            size_t at = (size_t)x * c->depth + (size_t)first;
            for (int p = 0; p < 3; p++)
                store_pixels(plane[p] + at, c->depth, pixels, keep, q[0][p], q[1][p], q[2][p], q[3][p]);
        }
    }
}

/* Tiles 0 to 5 have as many rows as there are pixels, 6 and 7 are full. */
AMX static void begin(int pixels) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.bytes[i] = 64;
        config.rows[i] = i < 6 ? (uint8_t)pixels : 16;
    }
    SETTLE(&config);
    _tile_loadconfig(&config);
}

AMX static void end(void) { _tile_release(); }

static inline __attribute__((always_inline)) AMX void finish(const Conv *c, const Tile *tile, uint32_t sums[3][256],
                                                             int first, uint32_t *out, size_t pitch) {
    __m512i r[16];
    for (int i = 0; i < 16; i++) {
        __m512i one = _mm512_slli_epi32(_mm512_load_si512(sums[1] + 16 * i), 8);
        __m512i two = _mm512_slli_epi32(_mm512_load_si512(sums[2] + 16 * i), 16);
        r[i] = _mm512_add_epi32(_mm512_add_epi32(one, two), _mm512_load_si512(sums[0] + 16 * i));
    }
    add_tile(c, tile, r, first, out, pitch);
}

static inline __attribute__((always_inline)) AMX void one_tile(const Conv *c, const View *v, const Tile *t,
                                                               const uint8_t *w, uint32_t sums[3][256], int wide) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    for (int k = 0; k < c->lines; k++)
        for (size_t s = 0; s < c->run_padded; s += 64) {
            size_t at = t->source + (size_t)k * v->pitch + s;
            _tile_loadd(6, w, 64);
            _tile_loadd(7, w + STEP_BYTES, 64);
            _tile_loadd(3, v->plane[0] + at, v->step);
            _tile_dpbuud(0, 3, 6);
            _tile_loadd(4, v->plane[1] + at, v->step);
            _tile_dpbuud(1, 4, 6);
            if (wide)
                _tile_dpbuud(2, 4, 7);
            else
                _tile_dpbusd(2, 4, 7);
            _tile_loadd(5, v->plane[2] + at, v->step);
            if (wide)
                _tile_dpbuud(1, 3, 7);
            else
                _tile_dpbusd(1, 3, 7);
            _tile_dpbuud(2, 5, 6);
            if (wide) {
                _tile_loadd(6, w + 2 * STEP_BYTES, 64);
                _tile_dpbuud(2, 3, 6);
            }
            w += (wide ? 3 : 2) * STEP_BYTES;
        }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
}

/* One plane of both tiles by the weights in tile 7, added to accumulators `left` and `right`. */
#define BOTH(product, which, left, right)                                                                              \
    _tile_loadd(6, v->plane[which] + a, v->step);                                                                      \
    product(left, 6, 7);                                                                                               \
    _tile_loadd(6, v->plane[which] + b, v->step);                                                                      \
    product(right, 6, 7);

static inline __attribute__((always_inline)) AMX void two_tiles(const Conv *c, const View *v, const Tile *t,
                                                                const uint8_t *w, uint32_t sums[6][256], int wide) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int k = 0; k < c->lines; k++)
        for (size_t s = 0; s < c->run_padded; s += 64) {
            size_t a = t[0].source + (size_t)k * v->pitch + s, b = t[1].source + (size_t)k * v->pitch + s;
            _tile_loadd(7, w, 64);
            BOTH(_tile_dpbuud, 0, 0, 3)
            BOTH(_tile_dpbuud, 1, 1, 4)
            BOTH(_tile_dpbuud, 2, 2, 5)
            _tile_loadd(7, w + STEP_BYTES, 64);
            if (wide) {
                BOTH(_tile_dpbuud, 0, 1, 4)
                BOTH(_tile_dpbuud, 1, 2, 5)
                _tile_loadd(7, w + 2 * STEP_BYTES, 64);
                BOTH(_tile_dpbuud, 0, 2, 5)
            } else {
                BOTH(_tile_dpbusd, 0, 1, 4)
                BOTH(_tile_dpbusd, 1, 2, 5)
            }
            w += (wide ? 3 : 2) * STEP_BYTES;
        }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
    _tile_stored(4, sums[4], 64);
    _tile_stored(5, sums[5], 64);
}

AMX static void tiles(const Conv *c, const View *v, const Tile *t, int count, const uint8_t *w, int first,
                      uint32_t *out, size_t pitch) {
    uint32_t sums[6][256] __attribute__((aligned(64)));
    SETTLE(v->plane[0]);
    if (count == 1) {
        memset(sums, 0, 3 * sizeof sums[0]); /* a short tile stores fewer rows */
        if (c->wide)
            one_tile(c, v, t, w, sums, 1);
        else
            one_tile(c, v, t, w, sums, 0);
        finish(c, t, sums, first, out, pitch);
        return;
    }
    if (c->wide)
        two_tiles(c, v, t, w, sums, 1);
    else
        two_tiles(c, v, t, w, sums, 0);
    finish(c, t, sums, first, out, pitch);
    finish(c, t + 1, sums + 3, first, out, pitch);
}

const Engine engine_amx = {16, 64, {3, 3}, {1, 1, 1}, block_bytes, pack, split, begin, tiles, end};
#endif
