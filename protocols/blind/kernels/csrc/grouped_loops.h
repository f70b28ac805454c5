/* Inner loops of the grouped convolution; included once a level with NAME, TARGET, and VECTOR (bytes) set. */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define LANES JOIN(NAME, _lanes)
#define PART JOIN(NAME, _part)

typedef uint32_t LANES __attribute__((vector_size(VECTOR), aligned(4), may_alias));

/* `vectors` (1 or 2) vectors of outputs from x and `out` on, of which `some` outputs are in the row. */
TARGET static inline __attribute__((always_inline)) void PART(const Grouped *g, const uint32_t *x, size_t plane,
                                                              size_t pitch, const size_t *at, const uint32_t *w,
                                                              int channels, int vectors, int some, uint32_t *out) {
    int k = g->kernel, lanes = VECTOR / 4;
    LANES left = {0}, right = {0};
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < k; y++) {
            const uint32_t *row = x + (size_t)c * plane + (size_t)y * pitch;
            for (int t = 0; t < k; t++, w++) {
                left += *(const LANES *)(row + at[t]) * *w;
                if (vectors == 2)
                    right += *(const LANES *)(row + at[t] + lanes) * *w;
            }
        }
    if (some >= lanes)
        *(LANES *)out += left;
    else
        for (int i = 0; i < some; i++)
            out[i] += left[i];
    if (some >= 2 * lanes)
        *(LANES *)(out + lanes) += right;
    else
        for (int i = lanes; i < some; i++)
            out[i] += right[i - lanes];
}

/* out[j] += sum over channels and taps of w * x[j * stride], for a row of `cols` outputs.
 * x: padded planes, columns split by their rest mod stride; at[kx]: where tap column kx starts in a row. */
TARGET static void NAME(const Grouped *g, const uint32_t *x, size_t plane, size_t pitch, const size_t *at,
                        const uint32_t *w, int channels, uint32_t *out) {
    int lanes = VECTOR / 4;
    for (int j = 0; j < g->cols; j += 2 * lanes) {
        int some = g->cols - j < 2 * lanes ? g->cols - j : 2 * lanes;
        if (some > lanes)
            PART(g, x + j, plane, pitch, at, w, channels, 2, some, out + j);
        else
            PART(g, x + j, plane, pitch, at, w, channels, 1, some, out + j);
    }
}

#undef PART
#undef LANES
#undef JOIN
#undef JOIN_
