/* Inner loop of the grouped convolution; included once a level with NAME, TARGET, and VECTOR (bytes) set. */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define LANES JOIN(NAME, _lanes)

typedef uint32_t LANES __attribute__((vector_size(VECTOR), aligned(4), may_alias));

/* out[j] += sum over channels and taps of w * x[j * stride], for a row of `cols` outputs.
 * x: padded planes, columns split by their rest mod stride; at[kx]: where tap column kx starts in a row. */
TARGET static void NAME(const Grouped *g, const uint32_t *x, size_t plane, size_t pitch, const size_t *at,
                        const uint32_t *w, int channels, uint32_t *out) {
    int k = g->kernel, lanes = VECTOR / 4;
    for (int j = 0; j < g->cols; j += 2 * lanes) {
        LANES left = {0}, right = {0};
        const uint32_t *v = w;
        for (int c = 0; c < channels; c++)
            for (int y = 0; y < k; y++) {
                const uint32_t *row = x + (size_t)c * plane + (size_t)y * pitch + (size_t)j;
                for (int t = 0; t < k; t++, v++) {
                    left += *(const LANES *)(row + at[t]) * *v;
                    right += *(const LANES *)(row + at[t] + lanes) * *v;
                }
            }
        if (g->cols - j >= 2 * lanes) {
            *(LANES *)(out + j) += left;
            *(LANES *)(out + j + lanes) += right;
            continue;
        }
        for (int i = 0; j + i < g->cols; i++)
            out[j + i] += i < lanes ? left[i] : right[i - lanes];
    }
}

#undef LANES
#undef JOIN
#undef JOIN_
