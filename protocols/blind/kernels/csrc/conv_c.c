#define ENGINE engine_c
#define TARGET
#include "conv_plain.h"
