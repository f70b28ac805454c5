/* Shared by the native kernels. Ring elements are uint32 and wrap mod 2^32; results are exact mod 2^24. */
#ifndef CRYPDOC_COMMON_H
#define CRYPDOC_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && (defined(__clang__) || __GNUC__ >= 11)
#define CRYPDOC_X86 1
#else
#define CRYPDOC_X86 0
#endif

#define AVX512 "avx512f,avx512bw,avx512vl,avx512dq"
#define TILE 16 /* pixels that a tile function computes at once */

enum { LEVEL_C, LEVEL_AVX2, LEVEL_VNNI, LEVEL_AMX, LEVELS };

int level_runs(int level);

/* ---- convolution, one group ------------------------------------------------------------------------- */

/* Part of a tile that is contiguous in an output channel: pixels start .. start + length - 1 at `target`. */
typedef struct {
    int start, length;
    size_t target;
} Segment;

typedef struct {
    size_t source; /* element offset of the first pixel (or of the panel) in every plane */
    int pixels, segments;
    Segment segment[TILE];
} Tile;

/* The input of a convolution, pixels outside, channels inside, split in up to three planes. */
typedef struct {
    const uint8_t *plane[3];
    size_t step;  /* elements from one pixel of a tile to the next */
    size_t pitch; /* elements from one line (a run) to the next */
} View;

struct Engine;

typedef struct {
    int channels, height, width, out, kernel, stride, padding, trailing;
    int wide, rows, cols; /* rows, cols: of the output */
    int stack, lines;       /* image rows that lie in a pixel side by side; kernel / stack, rounded up */
    size_t depth;           /* elements of a pixel: channels * stack */
    size_t run, run_padded; /* elements of a line: kernel * depth, and up to whole chunks */
    size_t block_bytes;     /* packed weights of one block of output channels */
    int blocks;
    const struct Engine *engine;
    uint8_t *packed;
} Conv;

typedef struct Engine {
    int block, chunk; /* output channels of a block; elements of a step along a run */
    int planes[2];    /* number of planes for narrow and for wide weights */
    int bytes[3];     /* bytes of an element in each plane */
    size_t (*block_bytes)(const Conv *);
    void (*pack)(const Conv *, int block, const int32_t *weights, uint8_t *packed);
    /* One row of `depth` channels (zeros where the pointer is 0) into the planes, at element 0 of each. */
    void (*split)(const Conv *, const uint32_t *const *channel, uint8_t *const plane[3]);
    void (*begin)(int pixels);
    void (*tiles)(const Conv *, const View *, const Tile *, int count, const uint8_t *packed, int first,
                  uint32_t *out, size_t out_pitch); /* count is 1 or 2 */
    void (*end)(void);
} Engine;

extern const Engine engine_c, engine_avx2, engine_vnni, engine_amx;

int conv_init(Conv *conv, int level, const int32_t *weights);
int conv_apply(const Conv *conv, size_t images, const uint32_t *x, uint32_t *out);

/* The weight of element `e` of a line's run (column, then row of the stack, then channel); 0 where there is none. */
static inline int32_t weight_at(const Conv *c, const int32_t *w, int out, int line, size_t e) {
    size_t channel = e % (size_t)c->channels, k = (size_t)c->kernel, column = e / c->depth;
    size_t row = (size_t)line * (size_t)c->stack + e / (size_t)c->channels % (size_t)c->stack;
    if (out >= c->out || e >= c->run || row >= k)
        return 0;
    return w[(((size_t)out * (size_t)c->channels + channel) * k + row) * k + column];
}

/* ---- grouped convolution, transposed scatter, scale ---------------------------------------------------- */

typedef struct {
    int channels, height, width, out, kernel, stride, padding, trailing, groups, rows, cols;
} Grouped;

int grouped_apply(int level, const Grouped *g, const uint32_t *w, size_t images, const uint32_t *x, uint32_t *out);

typedef struct {
    int kernel, stride, padding, out, height, width, rows, cols;
} Transposed;

int transposed_apply(const Conv *conv, const Transposed *t, size_t images, const uint32_t *x, uint32_t *out);
void scale_apply(size_t images, size_t channels, size_t pixels, const uint32_t *w, const uint32_t *x, uint32_t *out);

/* ---- scratch memory, kept between calls ------------------------------------------------------------------ */

typedef struct {
    void *data;
    size_t size;
} Scratch;

int scratch_take(Scratch *s, size_t size);
void scratch_give(Scratch *s);

/* ---- packing and the two-digit clip ---------------------------------------------------------------------- */

static inline size_t packed_size(size_t count, int width) { return (count * (size_t)width + 7) / 8; }

void pack_words(int level, const uint32_t *words, size_t count, int width, uint8_t *out);
void unpack_words(int level, const uint8_t *data, size_t count, int width, uint32_t *out);
/* Element `from` on (a multiple of 8), for the ends of vector loops. */
void pack_from(const uint32_t *words, size_t from, size_t count, int width, uint8_t *out);
void unpack_from(const uint8_t *data, size_t from, size_t count, int width, uint32_t *out);

typedef struct {
    int bits, low_bits, high_bits, shift;
    int32_t low;
} Clip;

/* One side's share of a cell of n elements: index (n,) of two bytes, words (8, n) of three, rows (n, row_bytes). */
typedef struct {
    const uint8_t *index, *words, *rows;
} Mask;

#define WORD_BYTES 3
#define CELL 8192 /* elements; the last cell may have fewer */
#define LAYOUT 2  /* of masks and calls: a module left from another build is not used */

static inline uint32_t load16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static inline uint32_t load24(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16; }
static inline void store16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void store24(uint8_t *p, uint32_t v) {
    store16(p, v);
    p[2] = (uint8_t)(v >> 16);
}

static inline size_t low_bytes(const Clip *c) { return c->low_bits > 3 ? (size_t)1 << (c->low_bits - 3) : 1; }
static inline size_t high_bytes(const Clip *c) { return c->high_bits > 1 ? (size_t)1 << (c->high_bits - 1) : 1; }
static inline size_t row_bytes(const Clip *c) { return low_bytes(c) + high_bytes(c); }
static inline size_t clip_bytes(const Clip *c) { return 8 * WORD_BYTES + row_bytes(c); }

void clip_open(int level, const Clip *c, size_t n, const uint32_t *z, const uint32_t *p, const Mask *m, uint8_t *message,
               uint32_t *opened);
void clip_answer(int level, const Clip *c, size_t n, const uint8_t *message, const Mask *m, const uint32_t *wire,
                 uint8_t *reply);
void clip_close(int level, const Clip *c, size_t n, const uint32_t *opened, const uint8_t *reply, const Mask *m,
                uint32_t *out);
void clip_deal(int level, const Clip *c, size_t n, const Mask *patient, const uint32_t *fresh, uint8_t *index,
               uint8_t *words, uint8_t *rows);

/* AVX-512 parts: elements 0 .. result - 1 are done, the caller does the rest. */
size_t clip_open_512(const Clip *c, size_t n, const uint32_t *z, const uint32_t *p, const Mask *m, uint8_t *message,
                     uint32_t *opened);
size_t clip_answer_512(const Clip *c, size_t n, const uint8_t *message, const Mask *m, const uint32_t *wire,
                       uint8_t *reply);
size_t clip_close_512(const Clip *c, size_t n, const uint32_t *opened, const uint8_t *reply, const Mask *m,
                      uint32_t *out);
size_t clip_words_512(const Clip *c, size_t n, const Mask *patient, const uint32_t *fresh, uint8_t *index,
                      uint8_t *words);
size_t clip_rows_512(const Clip *c, size_t n, const Mask *patient, const uint32_t *fresh, uint8_t *rows);
size_t clip_rows_vbmi(const Clip *c, size_t n, const Mask *patient, const uint32_t *fresh, uint8_t *rows);
size_t pack_512(const uint32_t *words, size_t count, int width, uint8_t *out);
size_t unpack_512(const uint8_t *data, size_t count, int width, uint32_t *out);

#endif
