/* Convolution by AVX512-VNNI: x = low (signed 16 bits) + 2^16 high; w likewise.
 *
 * mod 2^24: w * x = w_low * x_low (vpdpwssd, wraps mod 2^32) + 2^16 (w * x_high + x * w_high), where of the
 * bracket only the lower 8 bits matter: bytes suffice, unsigned w or w_high by signed x_high or x (vpdpbusd).
 * Narrow weights have w_high = 0.
 */
#include "common.h"

#if CRYPDOC_X86
#include "simd.h"

#define VNNI __attribute__((target("avx512vnni," AVX512)))
#define PIXELS 8

static size_t block_bytes(const Conv *c) {
    return (size_t)c->lines * c->run_padded / 4 * 128 * (c->wide ? 4 : 3);
}

static void put16(uint8_t *at, uint32_t v) {
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
}

/* First the bytes ([line][quad][w, or w and w_high][32 output channels][4]), then the low halves
 * ([line][pair][32 output channels][2]). */
static void pack(const Conv *c, int block, const int32_t *weights, uint8_t *packed) {
    size_t parts = c->wide ? 2 : 1, quads = c->run_padded / 4;
    uint8_t *halves = packed + (size_t)c->lines * quads * parts * 128;
    for (int row = 0; row < c->lines; row++)
        for (size_t e = 0; e < c->run_padded; e++)
            for (int o = 0; o < 32; o++) {
                uint32_t w = (uint32_t)weight_at(c, weights, block * 32 + o, row, e);
                uint8_t *bytes = packed + ((size_t)row * quads + e / 4) * parts * 128 + (size_t)o * 4 + e % 4;
                bytes[0] = (uint8_t)w;
                if (c->wide)
                    bytes[128] = (uint8_t)((w + 0x8000) >> 16);
                put16(halves + ((size_t)row * quads * 2 + e / 2) * 128 + (size_t)o * 4 + e % 2 * 2, w);
            }
}

__attribute__((target(AVX512))) static void split(const Conv *c, const uint32_t *const *channel,
                                                  uint8_t *const plane[3]) {
    for (int x = 0; x < c->width; x += 16) {
        int pixels = c->width - x < 16 ? c->width - x : 16;
        __mmask16 some = (__mmask16)((1u << pixels) - 1);
        for (int first = 0; first < (int)c->depth; first += 16) {
            __m512i r[16];
            int channels = (int)c->depth - first < 16 ? (int)c->depth - first : 16;
            __mmask16 keep = (__mmask16)((1u << channels) - 1);
            load_pixels(channel + first, channels, (size_t)x, some, r);
            size_t at = (size_t)x * c->depth + (size_t)first;
            for (int i = 0; i < pixels; i++, at += c->depth) {
                __m512i high = _mm512_srli_epi32(_mm512_add_epi32(r[i], _mm512_set1_epi32(0x8000)), 16);
                _mm512_mask_cvtepi32_storeu_epi16(plane[0] + 2 * at, keep, r[i]);
                _mm512_mask_cvtepi32_storeu_epi8(plane[1] + at, keep, high);
                if (c->wide)
                    _mm512_mask_cvtepi32_storeu_epi8(plane[2] + at, keep, r[i]);
            }
        }
    }
}

INLINE512 __m512i four(const uint8_t *at) {
    int32_t word;
    memcpy(&word, at, 4);
    return _mm512_set1_epi32(word);
}

static inline __attribute__((always_inline)) VNNI void bytes_pass(const View *v, int plane, size_t at,
                                                                  const uint8_t *w, size_t quads, size_t stride,
                                                                  __m512i acc[2 * PIXELS]) {
    const uint8_t *x = v->plane[plane] + at;
    for (size_t q = 0; q < quads; q++, x += 4, w += stride) {
        __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + 64);
        _Pragma("GCC unroll 8") for (int i = 0; i < PIXELS; i++) {
            __m512i b = four(x + (size_t)i * v->step);
            acc[2 * i] = _mm512_dpbusd_epi32(acc[2 * i], w0, b);
            acc[2 * i + 1] = _mm512_dpbusd_epi32(acc[2 * i + 1], w1, b);
        }
    }
}

static inline __attribute__((always_inline)) VNNI void halves_pass(const View *v, size_t at, const uint8_t *w,
                                                                   size_t pairs, __m512i acc[2 * PIXELS]) {
    const uint8_t *x = v->plane[0] + 2 * at;
    for (size_t q = 0; q < pairs; q++, x += 4, w += 128) {
        __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + 64);
        _Pragma("GCC unroll 8") for (int i = 0; i < PIXELS; i++) {
            __m512i b = four(x + 2 * (size_t)i * v->step);
            acc[2 * i] = _mm512_dpwssd_epi32(acc[2 * i], w0, b);
            acc[2 * i + 1] = _mm512_dpwssd_epi32(acc[2 * i + 1], w1, b);
        }
    }
}

VNNI static void half_tile(const Conv *c, const View *v, size_t source, const uint8_t *w, __m512i *sums) {
    size_t quads = c->run_padded / 4, stride = c->wide ? 256 : 128;
    __m512i acc[2 * PIXELS];
    for (int i = 0; i < 2 * PIXELS; i++)
        acc[i] = _mm512_setzero_si512();
    for (int k = 0; k < c->lines; k++, w += quads * stride) {
        bytes_pass(v, 1, source + (size_t)k * v->pitch, w, quads, stride, acc);
        if (c->wide)
            bytes_pass(v, 2, source + (size_t)k * v->pitch, w + 128, quads, stride, acc);
    }
    for (int i = 0; i < 2 * PIXELS; i++)
        acc[i] = _mm512_slli_epi32(acc[i], 16);
    for (int k = 0; k < c->lines; k++, w += 2 * quads * 128)
        halves_pass(v, source + (size_t)k * v->pitch, w, 2 * quads, acc);
    for (int i = 0; i < PIXELS; i++) {
        sums[i] = acc[2 * i];
        sums[16 + i] = acc[2 * i + 1];
    }
}

VNNI static void tiles(const Conv *c, const View *v, const Tile *t, int count, const uint8_t *w, int first,
                       uint32_t *out, size_t pitch) {
    for (int i = 0; i < count; i++, t++) {
        __m512i sums[32];
        memset(sums, 0, sizeof sums);
        half_tile(c, v, t->source, w, sums);
        if (t->pixels > PIXELS)
            half_tile(c, v, t->source + PIXELS * v->step, w, sums + PIXELS);
        add_tile(c, t, sums, first, out, pitch);
        if (first + 16 < c->out)
            add_tile(c, t, sums + 16, first + 16, out, pitch);
    }
}

const Engine engine_vnni = {32, 4, {2, 3}, {2, 1, 1}, block_bytes, pack, split, 0, tiles, 0};
#endif
