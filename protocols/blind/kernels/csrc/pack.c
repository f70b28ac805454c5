/* Little-endian bit strings of 1 to 32 bits a word. Eight words fill a whole number of bytes, so do sixteen. */
#include "common.h"

/* Words `from` (a multiple of 8) to the end; the last byte is filled up with zeros. */
void pack_from(const uint32_t *words, size_t from, size_t count, int width, uint8_t *out) {
    uint64_t held = 0, mask = ((uint64_t)1 << width) - 1;
    int bits = 0;
    out += from / 8 * (size_t)width;
    for (size_t i = from; i < count; i++) {
        held |= (words[i] & mask) << bits;
        bits += width;
        if (bits >= 32) {
            for (int b = 0; b < 4; b++)
                out[b] = (uint8_t)(held >> (8 * b));
            out += 4;
            held >>= 32;
            bits -= 32;
        }
    }
    for (; bits > 0; bits -= 8, held >>= 8)
        *out++ = (uint8_t)held;
}

void unpack_from(const uint8_t *data, size_t from, size_t count, int width, uint32_t *out) {
    uint64_t mask = ((uint64_t)1 << width) - 1, held = 0;
    size_t left = packed_size(count - from, width);
    int bits = 0;
    data += from / 8 * (size_t)width;
    for (size_t i = from; i < count; i++) {
        if (bits < width && left >= 4) {
            uint32_t next = data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
            held |= (uint64_t)next << bits;
            bits += 32;
            data += 4;
            left -= 4;
        }
        for (; bits < width; bits += 8, left--)
            held |= (uint64_t)*data++ << bits;
        out[i] = (uint32_t)(held & mask);
        held >>= width;
        bits -= width;
    }
}

void pack_words(int level, const uint32_t *words, size_t count, int width, uint8_t *out) {
    size_t done = 0;
#if CRYPDOC_X86
    if (level >= LEVEL_VNNI)
        done = pack_512(words, count, width, out);
#else
    (void)level;
#endif
    pack_from(words, done, count, width, out);
}

void unpack_words(int level, const uint8_t *data, size_t count, int width, uint32_t *out) {
    size_t done = 0;
#if CRYPDOC_X86
    if (level >= LEVEL_VNNI)
        done = unpack_512(data, count, width, out);
#else
    (void)level;
#endif
    unpack_from(data, done, count, width, out);
}
