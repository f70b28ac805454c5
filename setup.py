"""The native kernels: optional, an installation without a compiler does without them."""

from setuptools import Extension, setup

SOURCES = "protocols/blind/kernels/csrc"
NAMES = (
    "clip",
    "clip512",
    "clip_rows",
    "conv",
    "conv_amx",
    "conv_avx2",
    "conv_c",
    "conv_vnni",
    "cpu",
    "grouped",
    "module",
    "module_clip",
    "pack",
    "pack512",
    "scratch",
)
HEADERS = ("common", "conv_plain", "grouped_loops", "pack512", "simd")

setup(
    ext_modules=[
        Extension(
            "protocols.blind.kernels._native",
            sources=[f"{SOURCES}/{name}.c" for name in NAMES],
            depends=[f"{SOURCES}/{name}.h" for name in HEADERS],
            extra_compile_args=["-O3", "-std=gnu11"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            optional=True,
        )
    ]
)
