/* The steps of the two-digit clip, sixteen elements at once; clip.c has the same in plain C. */
#include "common.h"

#if CRYPDOC_X86
#include "pack512.h"

#define TARGET __attribute__((target(AVX512)))

typedef __m512i V;

INLINE512 V all(uint32_t x) { return _mm512_set1_epi32((int)x); }
INLINE512 V load(const uint32_t *p) { return _mm512_loadu_si512(p); }
INLINE512 V load_index(const uint8_t *p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)); }

/* Sixteen words of three bytes: four to a lane, then each to its dword; and back. */
INLINE512 V load_words(const uint8_t *p) {
    V d = _mm512_maskz_loadu_epi32(0xFFF, p);
    d = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 9, 10, 11, 0), d);
    return _mm512_shuffle_epi8(
        d, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1)));
}

INLINE512 void store_words(uint8_t *p, V v) {
    v = _mm512_shuffle_epi8(
        v, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1)));
    v = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 0, 0, 0, 0), v);
    _mm512_mask_storeu_epi32(p, 0xFFF, v);
}

INLINE512 V shift_left(V v, int by) { return _mm512_sll_epi32(v, _mm_cvtsi32_si128(by)); }
INLINE512 V shift_right(V v, int by) { return _mm512_srl_epi32(v, _mm_cvtsi32_si128(by)); }

typedef struct {
    int b, width, bits;
    size_t row;
    V low, m, ring, rows, second; /* rows, second: byte offsets of the two tables */
} Size;

INLINE512 Size size_of(const Clip *c) {
    V lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    Size s = {.b = c->low_bits, .width = c->low_bits + c->high_bits, .bits = c->bits, .row = row_bytes(c)};
    s.low = all((1u << s.b) - 1);
    s.m = all((1u << s.width) - 1);
    s.ring = all((1u << s.bits) - 1);
    s.rows = _mm512_mullo_epi32(lanes, all((uint32_t)s.row));
    s.second = _mm512_add_epi32(s.rows, all((uint32_t)low_bytes(c)));
    return s;
}

/* A look-up reads four bytes of which one is wanted: the last rows are left to plain C. */
INLINE512 size_t vector_end(const Size *s, size_t n) {
    size_t spare = (3 + s->row - 1) / s->row;
    return n < 16 + spare ? 0 : (n - spare) / 16 * 16;
}

INLINE512 void look_up(const Size *s, const uint8_t *rows, V m, V *beta, V *nibble) {
    V low = _mm512_and_si512(m, s->low), high = shift_right(m, s->b);
    V byte = _mm512_i32gather_epi32(_mm512_add_epi32(s->rows, _mm512_srli_epi32(low, 3)), rows, 1);
    *beta = _mm512_and_si512(_mm512_srlv_epi32(byte, _mm512_and_si512(low, all(7))), all(1));
    byte = _mm512_i32gather_epi32(_mm512_add_epi32(s->second, _mm512_srli_epi32(high, 1)), rows, 1);
    V odd = _mm512_slli_epi32(_mm512_and_si512(high, all(1)), 2);
    *nibble = _mm512_and_si512(_mm512_srlv_epi32(byte, odd), all(15));
}

/* The pair (Z, G) of a nibble for e. */
INLINE512 V pair_of(V nibble, V e) {
    return _mm512_and_si512(_mm512_srlv_epi32(nibble, _mm512_slli_epi32(e, 1)), all(3));
}

/* One side's share of y, and the public part. */
INLINE512 V share(const Size *s, const uint8_t *words, size_t n, V m, V e, V pair, V *public) {
    __mmask16 pick = _mm512_test_epi32_mask(e, e), zo = _mm512_test_epi32_mask(pair, all(1));
    __mmask16 go = _mm512_test_epi32_mask(pair, all(2));
    V w1 = _mm512_mask_mov_epi32(load_words(words), pick, load_words(words + 3 * n));
    V w2 = _mm512_mask_mov_epi32(load_words(words + 6 * n), pick, load_words(words + 9 * n));
    V c = _mm512_mask_mov_epi32(load_words(words + 12 * n), pick, load_words(words + 15 * n));
    V g = _mm512_mask_mov_epi32(load_words(words + 18 * n), pick, load_words(words + 21 * n));
    V digit = _mm512_or_si512(_mm512_and_si512(m, s->low), shift_left(e, s->b));
    V y = _mm512_add_epi32(_mm512_mullo_epi32(digit, c), w2);
    V top = _mm512_sub_epi32(shift_left(g, s->b), g); /* C g */
    y = _mm512_mask_sub_epi32(y, zo, w1, y);
    *public = _mm512_add_epi32(_mm512_maskz_mov_epi32(zo, digit), _mm512_maskz_mov_epi32(go, s->low));
    return _mm512_add_epi32(y, _mm512_mask_sub_epi32(top, go, _mm512_setzero_si512(), top));
}

TARGET size_t clip_open_512(const Clip *c, size_t n, const uint32_t *z, const uint32_t *p, const Mask *k,
                            uint8_t *message, uint32_t *opened) {
    Size s = size_of(c);
    Packer to = packer(s.width + 5);
    V start = all((uint32_t)c->low << c->shift), beta, nibble;
    size_t i = 0, end = vector_end(&s, n);
    for (; i < end; i += 16, message += 2 * to.width) {
        V m = shift_right(_mm512_and_si512(_mm512_sub_epi32(load(z + i), start), s.ring), c->shift);
        m = _mm512_and_si512(_mm512_add_epi32(m, _mm512_add_epi32(load_index(k->index + 2 * i), load(p + i))), s.m);
        look_up(&s, k->rows + i * s.row, m, &beta, &nibble);
        m = _mm512_or_si512(m, _mm512_or_si512(shift_left(beta, s.width), shift_left(nibble, s.width + 1)));
        _mm512_storeu_si512(opened + i, m);
        pack16(&to, m, message);
    }
    return i;
}

TARGET size_t clip_answer_512(const Clip *c, size_t n, const uint8_t *message, const Mask *k, const uint32_t *wire,
                              uint8_t *reply) {
    Size s = size_of(c);
    Unpacker from = unpacker(s.width + 5);
    Packer to = packer(s.bits + 3);
    V beta, nibble, public;
    size_t i = 0, end = vector_end(&s, n);
    for (; i < end; i += 16, message += 2 * (s.width + 5), reply += 2 * to.width) {
        V word = unpack16(&from, message), m = _mm512_and_si512(word, s.m), theirs = shift_right(word, s.width);
        look_up(&s, k->rows + i * s.row, m, &beta, &nibble);
        V e = _mm512_xor_si512(_mm512_and_si512(theirs, all(1)), beta), mine = pair_of(nibble, e);
        V pair = _mm512_xor_si512(pair_of(_mm512_srli_epi32(theirs, 1), e), mine);
        V y = _mm512_sub_epi32(share(&s, k->words + 3 * i, n, m, e, pair, &public), load(wire + i));
        V flags = _mm512_or_si512(beta, _mm512_slli_epi32(mine, 1));
        pack16(&to, _mm512_or_si512(_mm512_and_si512(y, s.ring), shift_left(flags, s.bits)), reply);
    }
    return i;
}

TARGET size_t clip_close_512(const Clip *c, size_t n, const uint32_t *opened, const uint8_t *reply, const Mask *k,
                             uint32_t *out) {
    Size s = size_of(c);
    Unpacker from = unpacker(s.bits + 3);
    V low = all((uint32_t)c->low), public;
    size_t i = 0;
    for (; i + 16 <= n; i += 16, reply += 2 * (s.bits + 3)) {
        V word = unpack16(&from, reply), mine = load(opened + i), m = _mm512_and_si512(mine, s.m);
        V theirs = shift_right(word, s.bits);
        mine = shift_right(mine, s.width);
        V e = _mm512_and_si512(_mm512_xor_si512(mine, theirs), all(1));
        V pair = _mm512_xor_si512(pair_of(_mm512_srli_epi32(mine, 1), e), _mm512_srli_epi32(theirs, 1));
        V y = share(&s, k->words + 3 * i, n, m, e, pair, &public);
        y = _mm512_add_epi32(_mm512_add_epi32(y, word), _mm512_add_epi32(public, low));
        _mm512_storeu_si512(out + i, _mm512_and_si512(y, s.ring));
    }
    return i;
}

TARGET size_t clip_words_512(const Clip *c, size_t n, const Mask *patient, const uint32_t *fresh, uint8_t *index,
                             uint8_t *words) {
    Size s = size_of(c);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        V f = load(fresh + i), r = _mm512_and_si512(f, s.m), low = _mm512_and_si512(f, s.low);
        V flags = shift_right(f, s.width), d = shift_left(_mm512_and_si512(flags, all(1)), s.b);
        V w1[2] = {_mm512_sub_epi32(d, low), _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_add_epi32(d, low))};
        r = _mm512_sub_epi32(r, load_index(patient->index + 2 * i));
        _mm256_storeu_si256((__m256i *)(index + 2 * i), _mm512_cvtepi32_epi16(r));
        for (int e = 0; e < 2; e++) {
            __mmask16 bit = _mm512_test_epi32_mask(flags, all(2u << e));
            V value[4] = {w1[e], _mm512_maskz_mov_epi32(bit, w1[e]), _mm512_maskz_mov_epi32(bit, all(1)),
                          _mm512_and_si512(shift_right(flags, 3 + e), all(1))};
            for (size_t v = 0; v < 4; v++) {
                size_t at = 3 * ((2 * v + (size_t)e) * n + i);
                store_words(words + at, _mm512_sub_epi32(value[v], load_words(patient->words + at)));
            }
        }
    }
    return i;
}

/* Bytes j = first .. first + 63 of the low table: bit i is [i < r_lo] ^ d. */
INLINE512 V low_table(V j, uint32_t low, uint32_t d) {
    V at = _mm512_set1_epi8((char)(low >> 3)), part = _mm512_set1_epi8((char)((1u << (low & 7)) - 1));
    V made = _mm512_maskz_set1_epi8(_mm512_cmplt_epu8_mask(j, at), -1);
    made = _mm512_mask_mov_epi8(made, _mm512_cmpeq_epi8_mask(j, at), part);
    return _mm512_xor_si512(made, _mm512_set1_epi8((char)(0u - d)));
}

/* Sets, where q = 0, the bit `zero`, and where 0 < q < 2^(h-1), the bit `upper`. */
INLINE512 V put(V made, V q, V high, V half, V zero, V upper) {
    q = _mm512_and_si512(q, high);
    __mmask64 none = _mm512_testn_epi8_mask(q, q);
    made = _mm512_or_si512(made, _mm512_maskz_mov_epi8(none, zero));
    return _mm512_or_si512(made, _mm512_maskz_mov_epi8(_mm512_mask_cmplt_epu8_mask(~none, q, half), upper));
}

/* Bytes of the high table; twice: 2 j for its bytes j. */
INLINE512 V high_table(V twice, V high, V half, uint32_t at, uint32_t d, uint32_t flags) {
    V one = _mm512_set1_epi8(1), u = _mm512_sub_epi8(twice, _mm512_set1_epi8((char)at));
    uint32_t hide = (flags & 1) | (flags >> 2 & 1) << 1 | (flags >> 1 & 1) << 2 | (flags >> 3 & 1) << 3;
    char here = (char)(1u << (2 * d)), there = (char)(1u << (2 - 2 * d)); /* e ^ d = 0, and 1 */
    V made = _mm512_set1_epi8((char)(hide * 17));
    V zero = _mm512_set1_epi8((char)(here ^ there << 4)), before = _mm512_set1_epi8(there);
    V after = _mm512_set1_epi8((char)(here << 4)), bits = _mm512_setzero_si512();
    bits = put(bits, u, high, half, zero, _mm512_add_epi8(zero, zero));
    bits = put(bits, _mm512_sub_epi8(u, one), high, half, before, _mm512_add_epi8(before, before));
    bits = put(bits, _mm512_add_epi8(u, one), high, half, after, _mm512_add_epi8(after, after));
    return _mm512_xor_si512(made, bits);
}

TARGET size_t clip_rows_512(const Clip *c, size_t n, const Mask *patient, const uint32_t *fresh, uint8_t *rows) {
    static const uint8_t count[64] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                      16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
                                      32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
                                      48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    size_t first = low_bytes(c), second = high_bytes(c);
    int b = c->low_bits, width = b + c->high_bits;
    V j = _mm512_loadu_si512(count), twice = _mm512_add_epi8(j, j), next = _mm512_set1_epi8(64);
    V high = _mm512_set1_epi8((char)((1u << c->high_bits) - 1)), half = _mm512_set1_epi8((char)(1u << (c->high_bits - 1)));
    const uint8_t *theirs = patient->rows;
    for (size_t i = 0; i < n; i++) {
        uint32_t f = fresh[i], low = f & ((1u << b) - 1), d = f >> width & 1;
        uint32_t at = (f & ((1u << width) - 1)) >> b, flags = f >> width >> 1;
        V lane = j;
        for (size_t s = 0; s < first; s += 64, lane = _mm512_add_epi8(lane, next)) {
            __mmask64 some = first_bytes((int)(first - s));
            V made = _mm512_xor_si512(low_table(lane, low, d), _mm512_maskz_loadu_epi8(some, theirs + s));
            _mm512_mask_storeu_epi8(rows + s, some, made);
        }
        lane = twice;
        for (size_t s = 0; s < second; s += 64, lane = _mm512_add_epi8(lane, _mm512_add_epi8(next, next))) {
            __mmask64 some = first_bytes((int)(second - s));
            V made = high_table(lane, high, half, at, d, flags);
            made = _mm512_xor_si512(made, _mm512_maskz_loadu_epi8(some, theirs + first + s));
            _mm512_mask_storeu_epi8(rows + first + s, some, made);
        }
        theirs += first + second;
        rows += first + second;
    }
    return n;
}
#endif
