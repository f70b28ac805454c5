#include "common.h"
#if CRYPDOC_X86
#define ENGINE engine_avx2
#define TARGET __attribute__((target("avx2")))
#define VECTOR 32
#include "conv_plain.h"
#endif
