/* Sixteen words to and from 2 * width bytes, in registers. */
#ifndef CRYPDOC_PACK512_H
#define CRYPDOC_PACK512_H

#include "simd.h"

#define PARTS 4

/* For each 64-bit word of the result: which items lie in it, and by how much they are shifted. */
typedef struct {
    int width, four, parts; /* four: items hold four words (width <= 16), else two */
    __m512i word, pair;     /* low `width` bits; shift of the upper word of a pair */
    __m512i item[PARTS], shift[PARTS];
    __mmask64 bytes;
} Packer;

typedef struct {
    __m512i low, high, shift, back, word; /* dwords that hold a word's lower and upper bits, and their shifts */
    __mmask64 bytes;
} Unpacker;

INLINE512 __mmask64 first_bytes(int count) { return count >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << count) - 1; }

/* width 8 to 32. */
INLINE512 Packer packer(int width) {
    Packer p = {.width = width, .four = width <= 16};
    int size = width * (p.four ? 4 : 2), items = p.four ? 4 : 8;
    uint64_t item[PARTS][8], shift[PARTS][8];
    p.parts = 1 + (62 + size) / size;
    for (int t = 0; t < p.parts; t++)
        for (int j = 0; j < 8; j++) {
            int i = 64 * j / size + t, from = i * size - 64 * j;
            int there = i < items && from < 64;
            /* the first item starts at or before the word and goes right, the others go left */
            item[t][j] = there ? (uint64_t)(p.four ? 2 * i : i) : 0;
            shift[t][j] = there ? (uint64_t)(t ? from : -from) : 64;
        }
    for (int t = 0; t < p.parts; t++) {
        p.item[t] = _mm512_loadu_si512(item[t]);
        p.shift[t] = _mm512_loadu_si512(shift[t]);
    }
    p.word = _mm512_set1_epi64((long long)(((uint64_t)1 << width) - 1));
    p.pair = _mm512_set1_epi64(width);
    p.bytes = first_bytes(2 * width);
    return p;
}

INLINE512 void pack16(const Packer *p, __m512i words, uint8_t *out) {
    __m512i low = _mm512_and_si512(words, p->word), high = _mm512_and_si512(_mm512_srli_epi64(words, 32), p->word);
    __m512i items = _mm512_or_si512(low, _mm512_sllv_epi64(high, p->pair));
    if (p->four) {
        __m512i upper = _mm512_sllv_epi64(_mm512_bsrli_epi128(items, 8), _mm512_add_epi64(p->pair, p->pair));
        items = _mm512_or_si512(items, upper);
    }
    __m512i made = _mm512_srlv_epi64(_mm512_permutexvar_epi64(p->item[0], items), p->shift[0]);
    for (int t = 1; t < PARTS; t++)
        if (t < p->parts)
            made = _mm512_or_si512(made, _mm512_sllv_epi64(_mm512_permutexvar_epi64(p->item[t], items), p->shift[t]));
    _mm512_mask_storeu_epi8(out, p->bytes, made);
}

/* width 1 to 32. */
INLINE512 Unpacker unpacker(int width) {
    Unpacker u;
    uint32_t low[16], high[16], shift[16], back[16];
    for (int i = 0; i < 16; i++) {
        int bit = i * width;
        low[i] = (uint32_t)(bit / 32);
        high[i] = low[i] < 15 ? low[i] + 1 : 15;
        shift[i] = (uint32_t)(bit % 32);
        back[i] = 32 - shift[i];
    }
    u.low = _mm512_loadu_si512(low);
    u.high = _mm512_loadu_si512(high);
    u.shift = _mm512_loadu_si512(shift);
    u.back = _mm512_loadu_si512(back);
    u.word = _mm512_set1_epi32((int)(((uint64_t)1 << width) - 1));
    u.bytes = first_bytes(2 * width);
    return u;
}

INLINE512 __m512i unpack16(const Unpacker *u, const uint8_t *data) {
    __m512i d = _mm512_maskz_loadu_epi8(u->bytes, data);
    __m512i low = _mm512_srlv_epi32(_mm512_permutexvar_epi32(u->low, d), u->shift);
    __m512i high = _mm512_sllv_epi32(_mm512_permutexvar_epi32(u->high, d), u->back);
    return _mm512_and_si512(_mm512_or_si512(low, high), u->word);
}

#endif
