/* What this processor and its system run. */
#include "common.h"

#if CRYPDOC_X86
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define GET_PERMISSION 0x1022
#define ASK_PERMISSION 0x1023
#define TILE_DATA 18

static int avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

/* The tile registers: the processor has them, and Linux lets this process use them when asked once. */
static int amx(void) {
#ifdef __linux__
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1) || !(d >> 25 & 1) || !avx512() ||
        !__builtin_cpu_supports("avx512vbmi"))
        return 0;
    unsigned long held = 0;
    if (syscall(SYS_arch_prctl, ASK_PERMISSION, TILE_DATA))
        return 0;
    return !syscall(SYS_arch_prctl, GET_PERMISSION, &held) && (held >> TILE_DATA & 1);
#else
    return 0;
#endif
}

int level_runs(int level) {
    static volatile int known[LEVELS]; /* 0 not asked yet, 1 no, 2 yes: racing threads find the same */
    if (!known[level]) {
        __builtin_cpu_init();
        int runs = level == LEVEL_C      ? 1
                   : level == LEVEL_AVX2 ? !!__builtin_cpu_supports("avx2")
                   : level == LEVEL_VNNI ? avx512() && __builtin_cpu_supports("avx512vnni")
                                         : amx();
        known[level] = runs ? 2 : 1;
    }
    return known[level] == 2;
}
#else
int level_runs(int level) { return level == LEVEL_C; }
#endif
