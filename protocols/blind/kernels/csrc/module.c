/* The extension module: checks sizes, releases the interpreter lock, calls the kernels. `_native.pyi` has the types. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "common.h"

#define CONV "crypdoc.conv"

static int wrong(const char *what) {
    PyErr_Format(PyExc_ValueError, "%s has the wrong size", what);
    return -1;
}

/* A contiguous buffer of `count` items of `size` bytes; the caller releases it. */
static int expect(const Py_buffer *b, size_t count, size_t size, const char *what) {
    return b->len >= 0 && (size_t)b->len == count * size ? 0 : wrong(what);
}

static void release(Py_buffer *b, int count) {
    for (int i = 0; i < count; i++)
        PyBuffer_Release(b + i);
}

static int bad_level(int level) {
    if (level >= 0 && level < LEVELS && level_runs(level))
        return 0;
    PyErr_SetString(PyExc_ValueError, "this machine does not run that level");
    return -1;
}

static PyObject *levels(PyObject *self, PyObject *none) {
    (void)self;
    (void)none;
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < LEVELS; i++) {
        PyObject *one = level_runs(i) ? PyLong_FromLong(i) : NULL;
        if (one && PyList_Append(list, one) < 0) {
            Py_DECREF(one);
            Py_DECREF(list);
            return NULL;
        }
        Py_XDECREF(one);
    }
    return list;
}

/* ---- convolution -------------------------------------------------------------------------------------- */

static int in_range(const int *v, int count, int least, int most) {
    for (int i = 0; i < count; i++)
        if (v[i] < least || v[i] > most)
            return 0;
    return 1;
}

static int output_side(int side, int kernel, int stride, int padding, int trailing) {
    int room = side + 2 * padding + trailing - kernel;
    return room < 0 ? 0 : room / stride + 1;
}

static void conv_free(PyObject *capsule) {
    Conv *c = PyCapsule_GetPointer(capsule, CONV);
    if (c) {
        free(c->packed);
        free(c);
    }
}

static int conv_sizes(Conv *c) {
    int sizes[6] = {c->channels, c->height, c->width, c->out, c->kernel, c->stride}, pads[2] = {c->padding, c->trailing};
    if (!in_range(sizes, 6, 1, 1 << 20) || !in_range(pads, 2, 0, 4096) || c->kernel > 4096 || c->stride > 4096)
        return wrong("a convolution");
    c->rows = output_side(c->height, c->kernel, c->stride, c->padding, c->trailing);
    c->cols = output_side(c->width, c->kernel, c->stride, c->padding, c->trailing);
    return c->rows > 0 && c->cols > 0 ? 0 : wrong("a convolution");
}

static PyObject *conv(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer w;
    int level, failed;
    Conv *c = calloc(1, sizeof *c);
    if (!c)
        return PyErr_NoMemory();
    if (!PyArg_ParseTuple(args, "ip(iiiiiiii)y*", &level, &c->wide, &c->channels, &c->height, &c->width, &c->out,
                          &c->kernel, &c->stride, &c->padding, &c->trailing, &w)) {
        free(c);
        return NULL;
    }
    size_t k = (size_t)c->kernel;
    failed = bad_level(level) || conv_sizes(c) ||
             expect(&w, (size_t)c->out * (size_t)c->channels * k * k, 4, "an array of weights");
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = conv_init(c, level, w.buf);
        Py_END_ALLOW_THREADS
        if (failed)
            PyErr_NoMemory();
    }
    PyBuffer_Release(&w);
    PyObject *made = failed ? NULL : PyCapsule_New(c, CONV, conv_free);
    if (!made) {
        free(c->packed);
        free(c);
    }
    return made;
}

static int not_positive(Py_ssize_t n) {
    if (n > 0)
        return 0;
    return wrong("a batch");
}

static PyObject *conv_call(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *capsule;
    Py_ssize_t n;
    Py_buffer b[2];
    if (!PyArg_ParseTuple(args, "Ony*w*", &capsule, &n, &b[0], &b[1]))
        return NULL;
    const Conv *c = PyCapsule_GetPointer(capsule, CONV);
    int failed = !c || not_positive(n) ||
                 expect(&b[0], (size_t)n * (size_t)c->channels * (size_t)c->height * (size_t)c->width, 4, "the input") ||
                 expect(&b[1], (size_t)n * (size_t)c->out * (size_t)c->rows * (size_t)c->cols, 4, "the output");
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = conv_apply(c, (size_t)n, b[0].buf, b[1].buf);
        Py_END_ALLOW_THREADS
        if (failed)
            PyErr_NoMemory();
    }
    release(b, 2);
    return failed ? NULL : Py_NewRef(Py_None);
}

static int grouped_sizes(Grouped *g) {
    int sizes[7] = {g->channels, g->height, g->width, g->out, g->kernel, g->stride, g->groups};
    int pads[2] = {g->padding, g->trailing};
    if (!in_range(sizes, 7, 1, 1 << 20) || !in_range(pads, 2, 0, 4096) || g->kernel > 4096 || g->stride > 4096 ||
        g->channels % g->groups || g->out % g->groups)
        return wrong("a convolution");
    g->rows = output_side(g->height, g->kernel, g->stride, g->padding, g->trailing);
    g->cols = output_side(g->width, g->kernel, g->stride, g->padding, g->trailing);
    return g->rows > 0 && g->cols > 0 ? 0 : wrong("a convolution");
}

static PyObject *grouped(PyObject *self, PyObject *args) {
    (void)self;
    int level;
    Py_ssize_t n;
    Grouped g;
    Py_buffer b[3];
    if (!PyArg_ParseTuple(args, "i(iiiiiiiii)ny*y*w*", &level, &g.channels, &g.height, &g.width, &g.out, &g.kernel,
                          &g.stride, &g.padding, &g.trailing, &g.groups, &n, &b[0], &b[1], &b[2]))
        return NULL;
    size_t k = (size_t)g.kernel;
    int failed =
        bad_level(level) || not_positive(n) || grouped_sizes(&g) ||
        expect(&b[0], (size_t)g.out * (size_t)(g.channels / g.groups) * k * k, 4, "an array of weights") ||
        expect(&b[1], (size_t)n * (size_t)g.channels * (size_t)g.height * (size_t)g.width, 4, "the input") ||
        expect(&b[2], (size_t)n * (size_t)g.out * (size_t)g.rows * (size_t)g.cols, 4, "the output");
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = grouped_apply(level, &g, b[0].buf, (size_t)n, b[1].buf, b[2].buf);
        Py_END_ALLOW_THREADS
        if (failed)
            PyErr_NoMemory();
    }
    release(b, 3);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* conv, (kernel, stride, padding, out, rows, cols), images, x, out */
static PyObject *transposed(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *capsule;
    Transposed t;
    Py_ssize_t n;
    Py_buffer b[2];
    if (!PyArg_ParseTuple(args, "O(iiiiii)ny*w*", &capsule, &t.kernel, &t.stride, &t.padding, &t.out, &t.rows, &t.cols,
                          &n, &b[0], &b[1]))
        return NULL;
    const Conv *c = PyCapsule_GetPointer(capsule, CONV);
    int sizes[5] = {t.kernel, t.stride, t.out, t.rows, t.cols};
    int failed = !c || not_positive(n);
    if (!failed && (!in_range(sizes, 5, 1, 1 << 20) || t.kernel > 4096 || t.padding < 0 || t.padding > 4096 ||
                    c->kernel != 1 || c->stride != 1 || c->padding || c->trailing ||
                    (int64_t)t.out * t.kernel * t.kernel != c->out))
        failed = wrong("a transposed convolution");
    if (!failed) {
        t.height = c->height;
        t.width = c->width;
        failed = expect(&b[0], (size_t)n * (size_t)c->channels * (size_t)c->height * (size_t)c->width, 4, "the input") ||
                 expect(&b[1], (size_t)n * (size_t)t.out * (size_t)t.rows * (size_t)t.cols, 4, "the output");
    }
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = transposed_apply(c, &t, (size_t)n, b[0].buf, b[1].buf);
        Py_END_ALLOW_THREADS
        if (failed)
            PyErr_NoMemory();
    }
    release(b, 2);
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyObject *scale(PyObject *self, PyObject *args) {
    (void)self;
    Py_ssize_t n, channels, pixels;
    Py_buffer b[3];
    if (!PyArg_ParseTuple(args, "nnny*y*w*", &n, &channels, &pixels, &b[0], &b[1], &b[2]))
        return NULL;
    int failed = not_positive(n) || not_positive(channels) || not_positive(pixels) ||
                 channels > 1 << 20 || pixels > 1 << 26 || expect(&b[0], (size_t)channels, 4, "an array of weights");
    size_t all = failed ? 0 : (size_t)n * (size_t)channels * (size_t)pixels;
    failed = failed || expect(&b[1], all, 4, "the input") || expect(&b[2], all, 4, "the output");
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        scale_apply((size_t)n, (size_t)channels, (size_t)pixels, b[0].buf, b[1].buf, b[2].buf);
        Py_END_ALLOW_THREADS
    } else if (!PyErr_Occurred())
        wrong("a scale");
    release(b, 3);
    return failed ? NULL : Py_NewRef(Py_None);
}

extern PyMethodDef clip_methods[];

static PyMethodDef methods[] = {
    {"levels", levels, METH_NOARGS, NULL},
    {"conv", conv, METH_VARARGS, NULL},
    {"conv_apply", conv_call, METH_VARARGS, NULL},
    {"grouped", grouped, METH_VARARGS, NULL},
    {"transposed", transposed, METH_VARARGS, NULL},
    {"scale", scale, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *m = PyModule_Create(&module);
    if (m && (PyModule_AddFunctions(m, clip_methods) < 0 || PyModule_AddIntConstant(m, "LAYOUT", LAYOUT) < 0)) {
        Py_DECREF(m);
        return NULL;
    }
    return m;
}
