#include "common.h"

#if CRYPDOC_X86
#include "pack512.h"

#define TARGET __attribute__((target(AVX512)))

TARGET size_t pack_512(const uint32_t *words, size_t count, int width, uint8_t *out) {
    if (width < 8)
        return 0;
    Packer p = packer(width);
    size_t i = 0;
    for (; i + 16 <= count; i += 16, out += 2 * width)
        pack16(&p, _mm512_loadu_si512(words + i), out);
    return i;
}

TARGET size_t unpack_512(const uint8_t *data, size_t count, int width, uint32_t *out) {
    Unpacker u = unpacker(width);
    size_t i = 0;
    for (; i + 16 <= count; i += 16, data += 2 * width)
        _mm512_storeu_si512(out + i, unpack16(&u, data));
    return i;
}
#endif
