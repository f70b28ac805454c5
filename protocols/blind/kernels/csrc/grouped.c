/* Grouped and depthwise convolution, the scatter of a transposed one, and Scale: plain words, vectors over pixels. */
#include "common.h"

#define NAME row_c
#define TARGET
#define VECTOR 16
#include "grouped_loops.h"
#undef NAME
#undef TARGET
#undef VECTOR
#if CRYPDOC_X86
#define NAME row_avx2
#define TARGET __attribute__((target("avx2")))
#define VECTOR 32
#include "grouped_loops.h"
#undef NAME
#undef TARGET
#undef VECTOR
#define NAME row_512
#define TARGET __attribute__((target(AVX512)))
#define VECTOR 64
#include "grouped_loops.h"
#endif

typedef void (*Row)(const Grouped *, const uint32_t *, size_t, size_t, const size_t *, const uint32_t *, int,
                    uint32_t *);

/* A channel of the image into a padded plane whose columns are split by their rest mod stride. */
static void fill_plane(const Grouped *g, const uint32_t *x, size_t part, size_t pitch, uint32_t *plane) {
    size_t s = (size_t)g->stride, p = (size_t)g->padding, width = (size_t)g->width;
    for (size_t i = 0; i < (size_t)g->height; i++, x += width) {
        uint32_t *row = plane + (i + p) * pitch;
        if (s == 1)
            memcpy(row + p, x, width * 4);
        for (size_t first = 0; s > 1 && first < s && first < width; first++) {
            uint32_t *to = row + (first + p) % s * part + (first + p) / s;
            size_t count = (width - first + s - 1) / s;
            if (s == 2)
                for (size_t j = 0; j < count; j++)
                    to[j] = x[2 * j + first];
            else
                for (size_t j = 0; j < count; j++)
                    to[j] = x[s * j + first];
        }
    }
}

/* out += conv(x). -1: no memory. */
int grouped_apply(int level, const Grouped *g, const uint32_t *w, size_t images, const uint32_t *x, uint32_t *out) {
    Row row = row_c;
#if CRYPDOC_X86
    row = level >= LEVEL_VNNI ? row_512 : level == LEVEL_AVX2 ? row_avx2 : row_c;
#else
    (void)level;
#endif
    size_t s = (size_t)g->stride, high = (size_t)g->height + 2 * (size_t)g->padding + (size_t)g->trailing;
    size_t part = ((size_t)g->width + 2 * (size_t)g->padding + (size_t)g->trailing + s - 1) / s, pitch = part * s;
    int in = g->channels / g->groups, per = g->out / g->groups;
    size_t plane = high * pitch, area = (size_t)g->rows * (size_t)g->cols, source = (size_t)g->height * (size_t)g->width;
    Scratch scratch;
    if (scratch_take(&scratch, ((size_t)in * plane + 64) * 4 + (size_t)g->kernel * sizeof(size_t)))
        return -1;
    size_t *at = scratch.data;
    uint32_t *planes = (uint32_t *)(at + g->kernel);
    memset(planes, 0, ((size_t)in * plane + 64) * 4); /* the borders stay so */
    for (int t = 0; t < g->kernel; t++)
        at[t] = (size_t)t % s * part + (size_t)t / s;
    for (size_t n = 0; n < images * (size_t)g->groups; n++) {
        const uint32_t *weights = w + n % (size_t)g->groups * (size_t)(per * in * g->kernel * g->kernel);
        for (int c = 0; c < in; c++)
            fill_plane(g, x + (n * (size_t)in + (size_t)c) * source, part, pitch, planes + (size_t)c * plane);
        for (int o = 0; o < per; o++, weights += in * g->kernel * g->kernel)
            for (size_t i = 0; i < (size_t)g->rows; i++)
                row(g, planes + i * s * pitch, plane, pitch, at, weights, in,
                    out + (n * (size_t)per + (size_t)o) * area + i * (size_t)g->cols);
    }
    scratch_give(&scratch);
    return 0;
}

/* Two kernel columns side by side, stride 2: the case of every U-Net, in a loop that vectorises. */
static void weave(const uint32_t *left, const uint32_t *right, long count, uint32_t *to) {
    for (long j = 0; j < count; j++) {
        to[2 * j] += left[j];
        to[2 * j + 1] += right[j];
    }
}

/* target (out, rows, cols) += every input point's kernel at its place; product (out, kernel, kernel, height, width). */
static void scatter(const Transposed *t, const uint32_t *product, uint32_t *target) {
    long k = t->kernel, s = t->stride, width = t->width, cols = t->cols;
    size_t area = (size_t)t->height * (size_t)t->width;
    for (long n = 0; n < (long)t->out * k * t->height; n++) {
        long o = n / (k * t->height), ky = n / t->height % k, i = n % t->height, y = i * s + ky - t->padding;
        if (y < 0 || y >= t->rows)
            continue;
        const uint32_t *from = product + (size_t)(o * k + ky) * (size_t)k * area + (size_t)(i * width);
        uint32_t *to = target + ((size_t)o * (size_t)t->rows + (size_t)y) * (size_t)cols;
        if (k == 2 && s == 2 && t->padding == 0 && cols >= 2 * width) {
            weave(from, from + area, width, to);
            continue;
        }
        for (long kx = 0; kx < k; kx++, from += area) {
            long x = kx - t->padding, first = x < 0 ? (-x + s - 1) / s : 0, last = x < cols ? (cols - 1 - x) / s : -1;
            for (long j = first; j < width && j <= last; j++)
                to[j * s + x] += from[j];
        }
    }
}

/* out += transposed convolution; `conv` makes every point's product with its channels. -1: no memory. */
int transposed_apply(const Conv *conv, const Transposed *t, size_t images, const uint32_t *x, uint32_t *out) {
    size_t points = (size_t)t->height * (size_t)t->width, count = (size_t)conv->out * points;
    Scratch scratch;
    if (scratch_take(&scratch, count * 4))
        return -1;
    int failed = 0;
    for (size_t i = 0; i < images && !failed; i++) {
        memset(scratch.data, 0, count * 4);
        failed = conv_apply(conv, 1, x + i * (size_t)conv->channels * points, scratch.data);
        if (!failed)
            scatter(t, scratch.data, out + i * (size_t)t->out * (size_t)t->rows * (size_t)t->cols);
    }
    scratch_give(&scratch);
    return failed;
}

void scale_apply(size_t images, size_t channels, size_t pixels, const uint32_t *w, const uint32_t *x, uint32_t *out) {
    for (size_t i = 0; i < images * channels; i++) {
        uint32_t v = w[i % channels];
        for (size_t j = 0; j < pixels; j++)
            *out++ += v * *x++;
    }
}
