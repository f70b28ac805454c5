/* The extension module, packing and the clip. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "common.h"

static int same(const Py_buffer *b, size_t bytes) {
    if (b->len >= 0 && (size_t)b->len == bytes)
        return 1;
    PyErr_SetString(PyExc_ValueError, "an array has the wrong size");
    return 0;
}

static int usable(int level, int width) {
    if (level >= 0 && level < LEVELS && level_runs(level) && width >= 1 && width <= 32)
        return 1;
    PyErr_SetString(PyExc_ValueError, "the width or the level is out of range");
    return 0;
}

static void release(Py_buffer *b, int count) {
    for (int i = 0; i < count; i++)
        PyBuffer_Release(b + i);
}

static PyObject *pack_call(PyObject *self, PyObject *args) {
    (void)self;
    int level, width;
    Py_buffer b;
    if (!PyArg_ParseTuple(args, "iiy*", &level, &width, &b))
        return NULL;
    PyObject *made = NULL;
    size_t count = (size_t)b.len / 4;
    if (usable(level, width) && same(&b, 4 * count))
        made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)packed_size(count, width));
    if (made) {
        uint8_t *to = (uint8_t *)PyBytes_AsString(made);
        Py_BEGIN_ALLOW_THREADS
        pack_words(level, b.buf, count, width, to);
        Py_END_ALLOW_THREADS
    }
    release(&b, 1);
    return made;
}

static PyObject *unpack_call(PyObject *self, PyObject *args) {
    (void)self;
    int level, width;
    Py_buffer b[2];
    if (!PyArg_ParseTuple(args, "iiy*w*", &level, &width, &b[0], &b[1]))
        return NULL;
    size_t count = (size_t)b[1].len / 4;
    int good = usable(level, width) && same(&b[1], 4 * count) && same(&b[0], packed_size(count, width));
    if (good) {
        Py_BEGIN_ALLOW_THREADS
        unpack_words(level, b[0].buf, count, width, b[1].buf);
        Py_END_ALLOW_THREADS
    }
    release(b, 2);
    return good ? Py_NewRef(Py_None) : NULL;
}

/* level, (K, low bits, high bits, shift, low), then buffers: two of the mask, and up to three more. */
typedef struct {
    int level;
    Clip clip;
    Py_buffer b[5];
    size_t n;
} Call;

static int clip_usable(Call *c) {
    const Clip *k = &c->clip;
    if (usable(c->level, 1) && k->bits >= 1 && k->bits <= 24 && k->low_bits >= 3 && k->low_bits <= 10 &&
        k->high_bits >= 1 && k->high_bits <= 8 && k->shift >= 0 && k->shift < 24)
        return 1;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "the clip is out of range");
    return 0;
}

/* The mask of n elements in buffers 0 and 1. */
static int mask_usable(Call *c) {
    c->n = (size_t)c->b[0].len / 2;
    return clip_usable(c) && same(&c->b[0], 2 * c->n) && same(&c->b[1], c->n * clip_bytes(&c->clip));
}

static size_t cell_size(const Call *c, size_t at) { return c->n - at < CELL ? c->n - at : CELL; }

/* The mask of the cell that starts with element `at`. */
static Mask cell_of(const Call *c, size_t at) {
    const uint8_t *data = (const uint8_t *)c->b[1].buf + at * clip_bytes(&c->clip);
    return (Mask){(const uint8_t *)c->b[0].buf + 2 * at, data, data + 8 * WORD_BYTES * cell_size(c, at)};
}

static int parse(PyObject *args, const char *format, Call *c) {
    return PyArg_ParseTuple(args, format, &c->level, &c->clip.bits, &c->clip.low_bits, &c->clip.high_bits,
                            &c->clip.shift, &c->clip.low, &c->b[0], &c->b[1], &c->b[2], &c->b[3], &c->b[4]);
}

static PyObject *new_bytes(size_t size) { return PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size); }

/* mask, z0, p, opened -> message */
static PyObject *open_call(PyObject *self, PyObject *args) {
    (void)self;
    Call c;
    if (!parse(args, "i(iiiii)y*y*y*y*w*", &c))
        return NULL;
    PyObject *made = NULL;
    size_t width = (size_t)(c.clip.low_bits + c.clip.high_bits + 5);
    if (mask_usable(&c) && same(&c.b[2], 4 * c.n) && same(&c.b[3], 4 * c.n) && same(&c.b[4], 4 * c.n))
        made = new_bytes(packed_size(c.n, (int)width));
    if (made) {
        uint8_t *to = (uint8_t *)PyBytes_AsString(made);
        const uint32_t *z = c.b[2].buf, *p = c.b[3].buf;
        uint32_t *opened = c.b[4].buf;
        Py_BEGIN_ALLOW_THREADS
        for (size_t at = 0; at < c.n; at += CELL) {
            Mask mask = cell_of(&c, at);
            clip_open(c.level, &c.clip, cell_size(&c, at), z + at, p + at, &mask, to + at / 8 * width, opened + at);
        }
        Py_END_ALLOW_THREADS
    }
    release(c.b, 5);
    return made;
}

/* mask, message, wire -> reply */
static PyObject *answer_call(PyObject *self, PyObject *args) {
    (void)self;
    Call c;
    if (!parse(args, "i(iiiii)y*y*y*y*", &c))
        return NULL;
    PyObject *made = NULL;
    size_t from = (size_t)(c.clip.low_bits + c.clip.high_bits + 5), width = (size_t)(c.clip.bits + 3);
    if (mask_usable(&c) && same(&c.b[2], packed_size(c.n, (int)from)) && same(&c.b[3], 4 * c.n))
        made = new_bytes(packed_size(c.n, (int)width));
    if (made) {
        uint8_t *to = (uint8_t *)PyBytes_AsString(made);
        const uint8_t *message = c.b[2].buf;
        const uint32_t *wire = c.b[3].buf;
        Py_BEGIN_ALLOW_THREADS
        for (size_t at = 0; at < c.n; at += CELL) {
            Mask mask = cell_of(&c, at);
            clip_answer(c.level, &c.clip, cell_size(&c, at), message + at / 8 * from, &mask, wire + at,
                        to + at / 8 * width);
        }
        Py_END_ALLOW_THREADS
    }
    release(c.b, 4);
    return made;
}

/* mask, opened, reply, out */
static PyObject *close_call(PyObject *self, PyObject *args) {
    (void)self;
    Call c;
    if (!parse(args, "i(iiiii)y*y*y*y*w*", &c))
        return NULL;
    size_t width = (size_t)(c.clip.bits + 3);
    int good = mask_usable(&c) && same(&c.b[2], 4 * c.n) && same(&c.b[3], packed_size(c.n, (int)width)) &&
               same(&c.b[4], 4 * c.n);
    if (good) {
        const uint32_t *opened = c.b[2].buf;
        const uint8_t *reply = c.b[3].buf;
        uint32_t *out = c.b[4].buf;
        Py_BEGIN_ALLOW_THREADS
        for (size_t at = 0; at < c.n; at += CELL) {
            Mask mask = cell_of(&c, at);
            clip_close(c.level, &c.clip, cell_size(&c, at), opened + at, reply + at / 8 * width, &mask, out + at);
        }
        Py_END_ALLOW_THREADS
    }
    release(c.b, 5);
    return good ? Py_NewRef(Py_None) : NULL;
}

/* mask of the patient, fresh, and the index and data of the mask to be filled */
static PyObject *deal_call(PyObject *self, PyObject *args) {
    (void)self;
    Call c;
    if (!parse(args, "i(iiiii)y*y*y*w*w*", &c))
        return NULL;
    int good = mask_usable(&c) && same(&c.b[2], 4 * c.n) && same(&c.b[3], 2 * c.n) &&
               same(&c.b[4], c.n * clip_bytes(&c.clip));
    if (good) {
        const uint32_t *fresh = c.b[2].buf;
        uint8_t *index = c.b[3].buf, *data = c.b[4].buf;
        Py_BEGIN_ALLOW_THREADS
        for (size_t at = 0; at < c.n; at += CELL) {
            Mask mask = cell_of(&c, at);
            size_t count = cell_size(&c, at);
            uint8_t *words = data + at * clip_bytes(&c.clip);
            clip_deal(c.level, &c.clip, count, &mask, fresh + at, index + 2 * at, words,
                      words + 8 * WORD_BYTES * count);
        }
        Py_END_ALLOW_THREADS
    }
    release(c.b, 5);
    return good ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef clip_methods[] = {
    {"pack", pack_call, METH_VARARGS, NULL},         {"unpack", unpack_call, METH_VARARGS, NULL},
    {"clip_open", open_call, METH_VARARGS, NULL},    {"clip_answer", answer_call, METH_VARARGS, NULL},
    {"clip_close", close_call, METH_VARARGS, NULL},  {"clip_deal", deal_call, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
