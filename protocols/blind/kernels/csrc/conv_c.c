#define ENGINE engine_c
#define TARGET
#define VECTOR 16
#include "conv_plain.h"
