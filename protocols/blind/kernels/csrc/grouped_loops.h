/* Inner loop of the grouped convolution; included once a level with NAME and TARGET set. */
#define LANES 32

/* out[j] += sum over channels and taps of w * x[j * stride], for a row of `cols` outputs.
 * x: padded planes, columns split by their rest mod stride; at[kx]: where tap column kx starts in a row. */
TARGET static void NAME(const Grouped *g, const uint32_t *x, size_t plane, size_t pitch, const size_t *at,
                        const uint32_t *w, int channels, uint32_t *out) {
    int k = g->kernel;
    for (int j = 0; j < g->cols; j += LANES) {
        uint32_t acc[LANES] = {0};
        int some = g->cols - j < LANES ? g->cols - j : LANES;
        for (int c = 0; c < channels; c++)
            for (int y = 0; y < k; y++) {
                const uint32_t *row = x + (size_t)c * plane + (size_t)y * pitch + (size_t)j;
                for (int t = 0; t < k; t++) {
                    uint32_t v = w[(c * k + y) * k + t];
                    const uint32_t *from = row + at[t];
                    for (int i = 0; i < LANES; i++)
                        acc[i] += v * from[i];
                }
            }
        for (int i = 0; i < some; i++)
            out[j + i] += acc[i];
    }
}

#undef LANES
