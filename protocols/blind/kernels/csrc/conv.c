/* Convolution mod 2^24, the part that every level shares.
 *
 * The image is laid out with channels inside (a pixel is `channels` consecutive elements), so a kernel row of
 * an output pixel is one contiguous run of kernel * channels elements, whatever the stride. Where a run is much
 * shorter than an engine's step, a pixel holds those below it too (`stack`), and a run covers several kernel
 * rows: a line. An engine sees tiles of 16 output pixels at a constant step, and `lines` runs a pixel. Tiles lie
 * in an output row; where that would waste much (small images), the runs of 16 pixels are copied to a panel.
 * What is read and written depends on the shapes alone.
 */
#include "common.h"

#define BUDGET ((size_t)768 << 10) /* bytes of planes or panels worked on at once: they stay in the L2 cache */

static const Engine *const engines[LEVELS] = {
    &engine_c,
#if CRYPDOC_X86
    &engine_avx2, &engine_vnni, &engine_amx,
#else
    0, 0, 0,
#endif
};

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

int conv_init(Conv *c, int level, const int32_t *weights) {
    const Engine *e = c->engine = engines[level];
    size_t chunk = (size_t)e->chunk, row = (size_t)c->kernel * (size_t)c->channels;
    c->stack = 2 * row <= chunk ? (int)smaller(chunk / row, (size_t)c->kernel) : 1;
    c->lines = (c->kernel + c->stack - 1) / c->stack;
    c->depth = (size_t)c->channels * (size_t)c->stack;
    c->run = (size_t)c->kernel * c->depth;
    c->run_padded = (c->run + chunk - 1) / chunk * chunk;
    c->blocks = (c->out + e->block - 1) / e->block;
    c->block_bytes = (e->block_bytes(c) + 63) / 64 * 64;
    c->packed = aligned_alloc(64, (size_t)c->blocks * c->block_bytes);
    if (!c->packed)
        return -1;
    memset(c->packed, 0, (size_t)c->blocks * c->block_bytes);
    for (int b = 0; b < c->blocks; b++)
        e->pack(c, b, weights, c->packed + (size_t)b * c->block_bytes);
    return 0;
}

/* What one pass over the weights works on: whole images, or a strip of rows of one. */
typedef struct {
    const Conv *conv;
    size_t image, images, row, rows; /* output rows */
    size_t high, wide;               /* padded size of an image's (or strip's) planes */
    size_t elements;                 /* of each plane, with room to read beyond the last tile */
    int gather;
    size_t tiles, most;    /* of this pass; of any pass */
    size_t panel, panels;  /* elements of a gathered tile; tiles gathered at once */
    uint8_t *plane[3], *panel_plane[3];
    Tile *tile;
    const uint32_t **channel; /* pointers to the channels of a row */
} Work;

static int plane_count(const Conv *c) { return c->engine->planes[c->wide]; }

static size_t element_bytes(const Conv *c) {
    size_t bytes = 0;
    for (int p = 0; p < plane_count(c); p++)
        bytes += (size_t)c->engine->bytes[p];
    return bytes;
}

/* Sizes of the work for `images` images and `rows` output rows each. */
static void measure(Work *w, size_t images, size_t rows) {
    const Conv *c = w->conv;
    size_t cols = (size_t)c->cols, across = (cols + TILE - 1) / TILE, dense = (images * rows * cols + TILE - 1) / TILE;
    w->images = images;
    w->rows = rows;
    w->high = (rows - 1) * (size_t)c->stride + (size_t)((c->lines - 1) * c->stack) + 1;
    w->wide = (size_t)c->width + 2 * (size_t)c->padding + (size_t)c->trailing;
    w->elements = images * w->high * w->wide * c->depth + (size_t)TILE * (size_t)c->stride * c->depth + 128;
    w->elements = (w->elements / 128) * 128 + 192; /* an odd multiple of 64: planes do not alias in the cache */
    w->gather = 5 * across * TILE > 6 * cols; /* more than a sixth would be wasted */
    w->tiles = w->gather ? dense : images * rows * across;
    w->panel = (size_t)c->lines * c->run_padded;
    w->panel += w->panel % 128 ? 0 : 64;
    w->panel *= TILE;
    w->panels = BUDGET / (w->panel * element_bytes(c));
    w->panels = smaller(w->tiles, w->panels < 2 ? 2 : w->panels);
}

static void plan(Work *w, size_t images) {
    const Conv *c = w->conv;
    measure(w, 1, (size_t)c->rows);
    size_t whole = w->elements * element_bytes(c);
    if (whole <= BUDGET) {
        measure(w, smaller(images, BUDGET / whole), (size_t)c->rows);
        return;
    }
    size_t row = w->wide * c->depth * element_bytes(c), rows = BUDGET / row, halo = (size_t)c->kernel;
    rows = rows > halo ? (rows - halo) / (size_t)c->stride : 0;
    measure(w, 1, smaller((size_t)c->rows, rows < 4 ? 4 : rows));
}

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

static size_t memory(const Work *w) {
    size_t a_plane = w->elements + (w->gather ? w->panels * w->panel + 64 : 0);
    return a_plane * element_bytes(w->conv) + 8 * 64 + aligned(w->most * sizeof(Tile)) +
           aligned(w->conv->depth * sizeof(uint32_t *));
}

static void place(Work *w, uint8_t *memory) {
    const Conv *c = w->conv;
    w->tile = (Tile *)memory;
    memory += aligned(w->most * sizeof(Tile));
    w->channel = (const uint32_t **)memory;
    memory += aligned(c->depth * sizeof(uint32_t *));
    for (int p = 0; p < plane_count(c); p++) {
        size_t bytes = (size_t)c->engine->bytes[p];
        w->plane[p] = memory;
        memory += aligned(w->elements * bytes);
        w->panel_plane[p] = memory;
        memory += w->gather ? aligned((w->panels * w->panel + 64) * bytes) : 0;
    }
}

/* One padded row into the planes, zeros where it leaves the image. channel: room for `depth` pointers. */
static void fill_row(const Work *w, const uint32_t *image, long row, size_t offset, const uint32_t **channel) {
    const Conv *c = w->conv;
    size_t left = (size_t)c->padding * c->depth, middle = (size_t)c->width * c->depth, line = w->wide * c->depth;
    size_t area = (size_t)c->height * (size_t)c->width, channels = (size_t)c->channels;
    uint8_t *at[3] = {0, 0, 0};
    for (int p = 0; p < plane_count(c); p++) {
        size_t bytes = (size_t)c->engine->bytes[p];
        uint8_t *start = w->plane[p] + offset * bytes;
        memset(start, 0, left * bytes);
        memset(start + (left + middle) * bytes, 0, (line - left - middle) * bytes);
        at[p] = start + left * bytes;
    }
    for (size_t s = 0; s < (size_t)c->stack; s++, row++)
        for (size_t i = 0; i < channels; i++)
            channel[s * channels + i] =
                row < 0 || row >= c->height ? 0 : image + i * area + (size_t)row * (size_t)c->width;
    c->engine->split(c, channel, at);
}

static void fill_planes(const Work *w, const uint32_t *x) {
    const Conv *c = w->conv;
    size_t line = w->wide * c->depth, size = (size_t)c->channels * (size_t)c->height * (size_t)c->width, offset = 0;
    for (size_t i = 0; i < w->images; i++)
        for (size_t y = 0; y < w->high; y++, offset += line)
            fill_row(w, x + (w->image + i) * size, (long)(w->row * (size_t)c->stride + y) - c->padding, offset,
                     w->channel);
    for (int p = 0; p < plane_count(c); p++) {
        size_t bytes = (size_t)c->engine->bytes[p];
        memset(w->plane[p] + offset * bytes, 0, (w->elements - offset) * bytes);
    }
}

/* Where the output pixel (image, row, col) of this work is read from and written to. */
static size_t source_of(const Work *w, size_t image, size_t row, size_t col) {
    const Conv *c = w->conv;
    return ((image * w->high + row * (size_t)c->stride) * w->wide + col * (size_t)c->stride) * c->depth;
}

static size_t target_of(const Work *w, size_t image, size_t row, size_t col) {
    const Conv *c = w->conv;
    size_t plane = (size_t)c->rows * (size_t)c->cols;
    return (w->image + image) * (size_t)c->out * plane + (w->row + row) * (size_t)c->cols + col;
}

static void row_tiles(Work *w) {
    size_t cols = (size_t)w->conv->cols;
    Tile *t = w->tile;
    for (size_t i = 0; i < w->images; i++)
        for (size_t y = 0; y < w->rows; y++)
            for (size_t x = 0; x < cols; x += TILE, t++) {
                t->source = source_of(w, i, y, x);
                t->pixels = (int)smaller(TILE, cols - x);
                t->segments = 1;
                t->segment[0] = (Segment){0, t->pixels, target_of(w, i, y, x)};
            }
}

/* Copies the runs of the tile's pixels to panel `slot`. */
static void gather_tile(Work *w, size_t index, size_t slot) {
    const Conv *c = w->conv;
    size_t area = w->rows * (size_t)c->cols, all = w->images * area, step = w->panel / TILE;
    Tile *t = w->tile + index;
    t->source = slot * w->panel;
    t->pixels = (int)smaller(TILE, all - index * TILE);
    t->segments = 0;
    for (int i = 0; i < TILE; i++) {
        size_t n = smaller(index * TILE + (size_t)i, all - 1), image = n / area, row = n % area / (size_t)c->cols;
        size_t col = n % (size_t)c->cols, from = source_of(w, image, row, col);
        if (i < t->pixels && (i == 0 || n % area == 0))
            t->segment[t->segments++] = (Segment){i, 0, target_of(w, image, row, col)};
        if (i < t->pixels)
            t->segment[t->segments - 1].length++;
        for (int p = 0; p < plane_count(c); p++) {
            size_t bytes = (size_t)c->engine->bytes[p], run = c->run_padded * bytes;
            uint8_t *to = w->panel_plane[p] + (t->source + (size_t)i * step) * bytes;
            const uint8_t *source = w->plane[p] + from * bytes;
            for (int k = 0; k < c->lines; k++)
                memcpy(to + (size_t)k * run, source + (size_t)(k * c->stack) * w->wide * c->depth * bytes, run);
        }
    }
}

static void compute(Work *w, size_t first, size_t last, uint32_t *out) {
    const Conv *c = w->conv;
    View view = {{0, 0, 0}, (size_t)c->stride * c->depth, (size_t)c->stack * w->wide * c->depth};
    if (w->gather) {
        view.step = w->panel / TILE;
        view.pitch = c->run_padded;
    }
    for (int p = 0; p < plane_count(c); p++)
        view.plane[p] = w->gather ? w->panel_plane[p] : w->plane[p];
    for (int b = 0; b < c->blocks; b++)
        for (size_t t = first; t < last; t += 2)
            c->engine->tiles(c, &view, w->tile + t, t + 1 < last ? 2 : 1, c->packed + (size_t)b * c->block_bytes,
                             b * c->engine->block, out, (size_t)c->rows * (size_t)c->cols);
}

static void perform(Work *w, const uint32_t *x, uint32_t *out) {
    const Engine *e = w->conv->engine;
    fill_planes(w, x);
    if (e->begin)
        e->begin(w->tiles > 1 ? TILE : (int)smaller(TILE, w->images * w->rows * (size_t)w->conv->cols));
    if (!w->gather) {
        row_tiles(w);
        compute(w, 0, w->tiles, out);
    } else {
        for (size_t t = 0; t < w->tiles; t += w->panels) {
            size_t last = smaller(w->tiles, t + w->panels);
            for (size_t i = t; i < last; i++)
                gather_tile(w, i, i - t);
            compute(w, t, last, out);
        }
    }
    if (e->end)
        e->end();
}

/* out += conv(x), mod 2^32 in wrap and exact mod 2^24. -1: no memory. */
int conv_apply(const Conv *c, size_t images, const uint32_t *x, uint32_t *out) {
    Work w = {.conv = c};
    Scratch scratch;
    plan(&w, images);
    size_t together = w.images, strip = w.rows;
    w.most = w.tiles;
    if (scratch_take(&scratch, memory(&w)))
        return -1;
    for (size_t i = 0; i < images; i += together)
        for (size_t r = 0; r < (size_t)c->rows; r += strip) {
            measure(&w, smaller(together, images - i), smaller(strip, (size_t)c->rows - r));
            w.image = i;
            w.row = r;
            place(&w, scratch.data);
            perform(&w, x, out);
        }
    scratch_give(&scratch);
    return 0;
}
