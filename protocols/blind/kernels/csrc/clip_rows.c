/* The dealer's tables of one element in one vector, for rows of up to 64 bytes: by permutations of bytes in a register,
 * so that what the dealer draws never makes an address. clip512.c has the same for longer rows. */
#include "common.h"

#if CRYPDOC_X86
#include <immintrin.h>

#define TARGET __attribute__((target(AVX512 ",avx512vbmi")))

typedef __m512i V;

/* (Z, G) of q: q = 0, and 0 < q < 2^(h-1). */
static uint32_t pair(uint32_t q, uint32_t count) { return q % count == 0 ? 1 : q % count < count / 2 ? 2 : 0; }

TARGET size_t clip_rows_vbmi(const Clip *c, size_t n, const Mask *patient, const uint32_t *fresh, uint8_t *rows) {
    size_t first = low_bytes(c), row = row_bytes(c);
    int b = c->low_bits, width = b + c->high_bits;
    uint32_t count = 1u << c->high_bits;
    if (row > 64 || count > 64)
        return 0;
    uint8_t place[64], even[64], nibble[2][64] = {{0}}; /* of each byte of a row: place in the low table; first entry */
    for (size_t i = 0; i < 64; i++) {
        place[i] = (uint8_t)(i < first ? i : 255);
        even[i] = (uint8_t)(i < first ? 0 : 2 * (i - first));
    }
    for (uint32_t d = 0; d < 2; d++)
        for (uint32_t q = 0; q < count; q++)
            nibble[d][q] = (uint8_t)(pair(q + count - d, count) | pair(q + count - 1 + d, count) << 2);
    V places = _mm512_loadu_si512(place), entries = _mm512_loadu_si512(even), one = _mm512_set1_epi8(1);
    V high = _mm512_set1_epi8((char)(count - 1)), tables[2] = {_mm512_loadu_si512(nibble[0]), _mm512_loadu_si512(nibble[1])};
    V differ = _mm512_xor_si512(tables[0], tables[1]), three = _mm512_set1_epi8(15);
    __mmask64 whole = row == 64 ? ~(__mmask64)0 : ((__mmask64)1 << row) - 1, upper = whole & ~(((__mmask64)1 << first) - 1);
    const uint8_t *theirs = patient->rows;
    for (size_t i = 0; i < n; i++, theirs += row, rows += row) {
        uint32_t f = fresh[i], low = f & ((1u << b) - 1), d = f >> width & 1, flags = f >> width >> 1;
        uint32_t at = (f & ((1u << width) - 1)) >> b;
        uint32_t hide = (flags & 1) | (flags >> 2 & 1) << 1 | (flags >> 1 & 1) << 2 | (flags >> 3 & 1) << 3;
        V byte = _mm512_set1_epi8((char)(low >> 3));
        V made = _mm512_movm_epi8(_mm512_cmplt_epu8_mask(places, byte));
        made = _mm512_mask_mov_epi8(made, _mm512_cmpeq_epi8_mask(places, byte),
                                    _mm512_set1_epi8((char)((1u << (low & 7)) - 1)));
        V table = _mm512_xor_si512(tables[0], _mm512_and_si512(differ, _mm512_set1_epi8((char)(0u - d))));
        V q = _mm512_sub_epi8(entries, _mm512_set1_epi8((char)at));
        V left = _mm512_permutexvar_epi8(_mm512_and_si512(q, high), table);
        V right = _mm512_permutexvar_epi8(_mm512_and_si512(_mm512_add_epi8(q, one), high), table);
        V both = _mm512_or_si512(left, _mm512_slli_epi16(_mm512_and_si512(right, three), 4));
        V mask = _mm512_mask_set1_epi8(_mm512_set1_epi8((char)(0u - d)), upper, (char)(hide * 17));
        made = _mm512_xor_si512(_mm512_mask_mov_epi8(made, upper, both), mask);
        _mm512_mask_storeu_epi8(rows, whole, _mm512_xor_si512(made, _mm512_maskz_loadu_epi8(whole, theirs)));
    }
    return n;
}
#endif
