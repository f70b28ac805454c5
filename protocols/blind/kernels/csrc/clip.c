/* The steps of the two-digit clip; `masking.py` has the equations.
 *
 * Memory is read at places that depend on the opened m alone, which is uniform; shares and what the dealer
 * draws decide values only, never a branch or an address.
 */
#include "common.h"

#define CHUNK 64 /* elements between packings: a multiple of 8 */

static uint32_t ones(int bits) { return (uint32_t)(((uint64_t)1 << bits) - 1); }

/* One side's bit of the low table and nibble of the high one, at m. */
static inline void look_up(const Clip *c, const uint8_t *rows, size_t i, uint32_t m, uint32_t *beta, uint32_t *nibble) {
    const uint8_t *row = rows + i * row_bytes(c);
    uint32_t low = m & ones(c->low_bits), high = m >> c->low_bits;
    *beta = (uint32_t)(row[low >> 3] >> (low & 7)) & 1;
    *nibble = (uint32_t)(row[low_bytes(c) + (high >> 1)] >> (4 * (high & 1))) & 15;
}

/* One side's share of y; `open` is 1 for the side that adds the public part. */
static inline uint32_t share(const Clip *c, const uint8_t *words, size_t n, size_t i, uint32_t m, uint32_t e,
                             uint32_t pair, uint32_t open) {
    uint32_t pick = 0u - e, w[4];
    for (size_t k = 0; k < 4; k++) {
        uint32_t zero = load24(words + 3 * (2 * k * n + i)), one = load24(words + 3 * ((2 * k + 1) * n + i));
        w[k] = zero ^ ((zero ^ one) & pick);
    }
    uint32_t zo = pair & 1, go = pair >> 1, digit = (m & ones(c->low_bits)) + (e << c->low_bits);
    uint32_t ceiling = ones(c->low_bits), flip = 0u - zo, turn = (ceiling ^ (0u - go)) + go;
    uint32_t y = (((digit * w[2] + w[1]) ^ flip) + zo) + (w[0] & flip) + turn * w[3];
    return y + (open ? (digit & flip) + (ceiling & (0u - go)) + (uint32_t)c->low : 0u);
}

void clip_open(int level, const Clip *c, size_t n, const uint32_t *z, const uint32_t *p, const Mask *k, uint8_t *message,
               uint32_t *opened) {
    size_t done = 0;
    int width = c->low_bits + c->high_bits;
    uint32_t start = (uint32_t)c->low << c->shift, beta, nibble;
#if CRYPDOC_X86
    if (level >= LEVEL_VNNI)
        done = clip_open_512(c, n, z, p, k, message, opened);
#else
    (void)level;
#endif
    for (size_t i = done; i < n; i++) {
        uint32_t m = ((((z[i] - start) & ones(c->bits)) >> c->shift) + load16(k->index + 2 * i) + p[i]) & ones(width);
        look_up(c, k->rows, i, m, &beta, &nibble);
        opened[i] = m | beta << width | nibble << (width + 1);
    }
    pack_from(opened, done, n, width + 5, message);
}

static void answer_some(const Clip *c, size_t n, size_t from, size_t to, const uint8_t *message, const Mask *k,
                        const uint32_t *wire, uint8_t *reply) {
    int width = c->low_bits + c->high_bits;
    uint32_t word[CHUNK], beta, nibble;
    size_t bytes = from / 8 * (size_t)(width + 5);
    unpack_from(message + bytes, 0, to - from, width + 5, word);
    for (size_t i = from; i < to; i++) {
        uint32_t m = word[i - from] & ones(width), theirs = word[i - from] >> width;
        look_up(c, k->rows, i, m, &beta, &nibble);
        uint32_t e = (theirs & 1) ^ beta, mine = (nibble >> (2 * e)) & 3, pair = ((theirs >> 1 >> (2 * e)) & 3) ^ mine;
        uint32_t y = share(c, k->words, n, i, m, e, pair, 0);
        word[i - from] = ((y - wire[i]) & ones(c->bits)) | (beta | mine << 1) << c->bits;
    }
    pack_from(word, 0, to - from, c->bits + 3, reply + from / 8 * (size_t)(c->bits + 3));
}

void clip_answer(int level, const Clip *c, size_t n, const uint8_t *message, const Mask *k, const uint32_t *wire,
                 uint8_t *reply) {
    size_t done = 0;
#if CRYPDOC_X86
    if (level >= LEVEL_VNNI)
        done = clip_answer_512(c, n, message, k, wire, reply);
#else
    (void)level;
#endif
    for (; done < n; done += CHUNK)
        answer_some(c, n, done, n - done < CHUNK ? n : done + CHUNK, message, k, wire, reply);
}

static void close_some(const Clip *c, size_t n, size_t from, size_t to, const uint32_t *opened, const uint8_t *reply,
                       const Mask *k, uint32_t *out) {
    int width = c->low_bits + c->high_bits;
    uint32_t word[CHUNK];
    unpack_from(reply + from / 8 * (size_t)(c->bits + 3), 0, to - from, c->bits + 3, word);
    for (size_t i = from; i < to; i++) {
        uint32_t m = opened[i] & ones(width), mine = opened[i] >> width, theirs = word[i - from] >> c->bits;
        uint32_t e = (mine & 1) ^ (theirs & 1), pair = ((mine >> 1 >> (2 * e)) & 3) ^ (theirs >> 1);
        out[i] = (share(c, k->words, n, i, m, e, pair, 1) + word[i - from]) & ones(c->bits);
    }
}

void clip_close(int level, const Clip *c, size_t n, const uint32_t *opened, const uint8_t *reply, const Mask *k,
                uint32_t *out) {
    size_t done = 0;
#if CRYPDOC_X86
    if (level >= LEVEL_VNNI)
        done = clip_close_512(c, n, opened, reply, k, out);
#else
    (void)level;
#endif
    for (; done < n; done += CHUNK)
        close_some(c, n, done, n - done < CHUNK ? n : done + CHUNK, opened, reply, k, out);
}

/* The dealer's arithmetic shares for M: index mod 2^16, words mod 2^24, of which 2^B and 2^K are factors. */
static void words_of(const Clip *c, size_t n, size_t i, const Mask *patient, uint32_t fresh, uint8_t *index,
                     uint8_t *words) {
    int b = c->low_bits, width = b + c->high_bits;
    uint32_t r = fresh & ones(width), d = (fresh >> width & 1) << b, low = r & ones(b), flags = fresh >> width >> 1;
    uint32_t w1[2] = {d - low, 0u - d - low};
    store16(index + 2 * i, r - load16(patient->index + 2 * i));
    for (size_t e = 0; e < 2; e++) {
        uint32_t bit = flags >> e & 1, value[4] = {w1[e], w1[e] & (0u - bit), bit, flags >> (2 + e) & 1};
        for (size_t k = 0; k < 4; k++) {
            size_t at = 3 * ((2 * k + e) * n + i);
            store24(words + at, value[k] - load24(patient->words + at));
        }
    }
}

/* (Z, G) of a nibble's half: q = 0, and 0 < q < 2^(h-1). No branch: q is the dealer's secret. */
static inline uint32_t pair_of(uint32_t q, uint32_t high) {
    q &= high;
    uint32_t zero = (q - 1) >> 31, upper = (high / 2 - q) >> 31;
    return zero | (1u ^ zero ^ (upper & 1)) << 1;
}

static inline void put_bytes(uint8_t *to, const uint8_t *from, uint64_t value, size_t count) {
    for (size_t i = 0; i < count; i++, value >>= 8)
        to[i] = (uint8_t)(value ^ from[i]);
}

static void row_of(const Clip *c, const uint8_t *patient, uint32_t fresh, uint8_t *row) {
    int b = c->low_bits, width = b + c->high_bits;
    uint32_t d = fresh >> width & 1, low = fresh & ones(b), at = (fresh & ones(width)) >> b, high = ones(c->high_bits);
    uint32_t flags = fresh >> width >> 1; /* c0, c1, g0, g1 */
    uint32_t hide = (flags & 1) | (flags >> 2 & 1) << 1 | (flags >> 1 & 1) << 2 | (flags >> 3 & 1) << 3;
    size_t first = low_bytes(c), second = high_bytes(c);
    for (size_t j = 0; j < first; j += 8) { /* entries 8 j to 8 j + 63, or as many as there are */
        int32_t below = (int32_t)low - (int32_t)(8 * j);
        below &= ~(below >> 31);                            /* max(0, below) */
        below = 64 + ((below - 64) & ((below - 64) >> 31)); /* min(64, below) */
        uint64_t half = (uint64_t)1 << (below >> 1), ones = half * half << (below & 1);
        put_bytes(row + j, patient + j, (ones - 1) ^ (0 - (uint64_t)d), first - j < 8 ? first - j : 8);
    }
    for (size_t j = 0; j < second; j++) {
        uint32_t u = (uint32_t)(2 * j) - at, one = pair_of(u, high);
        uint32_t even = one << (2 * d) | pair_of(u - 1, high) << (2 - 2 * d);
        uint32_t odd = pair_of(u + 1, high) << (2 * d) | one << (2 - 2 * d);
        row[first + j] = (uint8_t)(((even ^ hide) | (odd ^ hide) << 4) ^ patient[first + j]);
    }
}

void clip_deal(int level, const Clip *c, size_t n, const Mask *patient, const uint32_t *fresh, uint8_t *index,
               uint8_t *words, uint8_t *rows) {
    size_t done = 0, dealt = 0;
#if CRYPDOC_X86
    if (level >= LEVEL_VNNI) {
        done = clip_words_512(c, n, patient, fresh, index, words);
        dealt = level == LEVEL_AMX ? clip_rows_vbmi(c, n, patient, fresh, rows) : 0;
        dealt = dealt ? dealt : clip_rows_512(c, n, patient, fresh, rows);
    }
#else
    (void)level;
#endif
    for (; done < n; done++)
        words_of(c, n, done, patient, fresh[done], index, words);
    for (; dealt < n; dealt++)
        row_of(c, patient->rows + dealt * row_bytes(c), fresh[dealt], rows + dealt * row_bytes(c));
}
