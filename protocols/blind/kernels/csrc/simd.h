/* AVX-512 pieces that the AMX and the VNNI convolution share. */
#ifndef CRYPDOC_SIMD_H
#define CRYPDOC_SIMD_H

#include "common.h"
#include <immintrin.h>

#define INLINE512 static inline __attribute__((always_inline, target(AVX512)))

/* Transposes a 16 x 16 matrix of words. */
INLINE512 void transpose16(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* Adds sums (16 pixels x 16 output channels from `first` on) to the output; lanes that are masked are not touched. */
INLINE512 void add_tile(const Conv *c, const Tile *tile, __m512i sums[16], int first, uint32_t *out, size_t pitch) {
    int channels = c->out - first < 16 ? c->out - first : 16;
    transpose16(sums);
    __m512i held[16];
    for (int i = 0; i < 16; i++)
        held[i] = sums[i];
    for (int s = 0; s < tile->segments; s++) {
        const Segment *part = tile->segment + s;
        __mmask16 mask = (__mmask16)(((1u << part->length) - 1) << part->start);
        uint32_t *at = out + part->target + (size_t)first * pitch;
        at -= part->start;
        for (int i = 0; i < channels; i++, at += pitch)
            _mm512_mask_storeu_epi32(at, mask, _mm512_add_epi32(held[i], _mm512_maskz_loadu_epi32(mask, at)));
    }
}

/* 16 channels x up to 16 pixels of an image: result[pixel] holds the 16 channels, zeros beyond the last. */
INLINE512 void load_pixels(const uint32_t *const *channel, int channels, size_t x, __mmask16 pixels, __m512i r[16]) {
    for (int i = 0; i < 16; i++)
        r[i] = i < channels && channel[i] ? _mm512_maskz_loadu_epi32(pixels, channel[i] + x) : _mm512_setzero_si512();
    transpose16(r);
}

#endif
