"""A tape without a dealer: patient and model make its frames between the two of them, ahead of the inference.

The online phase does not change by a byte, since the tape is the interface: P keeps a seed of its own that expands
as a dealer's would, M ends with the frames that fit it. What the dealer drew afresh is here shared between the two.

| module | what |
|---|---|
| `bits` | packed bits: transpose, rotate, parity |
| `extension` | oblivious transfers by the million from 128 (SoftSpokenOT, passive), and correlated ones from them |
| `tables` | one chunk of a clip: both sides' messages |
| `threshold` | the confidence bucket's table |
| `packing` | an affine layer as products of polynomials, for homomorphic encryption |
| `tape` | the whole tape: what each side says, in which order |
| `own` | M's weights when no one else may hold a pad of them: E = 0 |

The argument stands in docs/without-a-dealer.md.
"""
