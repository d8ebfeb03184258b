// An einsum layer as a chain of two products, with every index order hidden in strides:
//
//   z[p, d, r, g, b] = sum over a of F[p, d, r, g, a] * x[g, b, a]
//   y[p, e, d]       = sum over r, g, b of S[p, e, r, g, b] * z[p, d, r, g, b]
//
// The layer is such a chain with A as F, its mirror image one with B as F, and the gradient of the
// input is the transposed chain of the gradient of the output, so one kernel serves all four.
#pragma once

#include "../core/einsum_shape.h"

namespace einlinear {
namespace cuda {

struct EinsumChain {
  int64_t g, b, a, p, d, e, r;
  int64_t xg, xb, xa, yp, ye, yd;  // strides of a token's features
  int64_t dIn, dOut;               // stored features of a token
  int64_t fp, fd, fr, fg, fa;      // strides of F
  int64_t sp, se, sr, sg, sb;      // strides of S

  int64_t inner() const { return times(g, b, a); }
  int64_t outer() const { return times(p, e, d); }
  int64_t featuresIn() const { return dIn < inner() ? dIn : inner(); }
  int64_t featuresOut() const { return dOut < outer() ? dOut : outer(); }
  int64_t secondSize() const { return times(p, e, r, g, b); }
  int64_t between() const { return times(p, d, r, g, b); }

  // The chain with F and S transposed: from dy to dx. The gradient of F is that of its S.
  EinsumChain transposed() const {
    EinsumChain t;
    t.g = p, t.b = d, t.a = e, t.p = g, t.d = b, t.e = a, t.r = r;
    t.xg = yp, t.xb = yd, t.xa = ye, t.yp = xg, t.ye = xa, t.yd = xb;
    t.dIn = dOut, t.dOut = dIn;
    t.fp = sg, t.fd = sb, t.fr = sr, t.fg = sp, t.fa = se;
    t.sp = fg, t.se = fa, t.sr = fr, t.sg = fp, t.sb = fd;
    return t;
  }
};

inline EinsumChain chainOf(const EinsumShape& s, bool mirrored) {
  EinsumChain c;
  c.g = s.gamma, c.p = s.phi, c.r = s.rho;
  c.b = mirrored ? s.alpha : s.beta;
  c.a = mirrored ? s.beta : s.alpha;
  c.d = mirrored ? s.epsilon : s.delta;
  c.e = mirrored ? s.delta : s.epsilon;
  c.xg = s.beta * s.alpha;
  c.xb = mirrored ? 1 : s.alpha;
  c.xa = mirrored ? s.alpha : 1;
  c.yp = s.epsilon * s.delta;
  c.ye = mirrored ? 1 : s.delta;
  c.yd = mirrored ? s.delta : 1;
  c.dIn = s.dIn, c.dOut = s.dOut;
  c.fa = 1, c.fg = c.a, c.fr = c.g * c.fg, c.fd = c.r * c.fr, c.fp = c.d * c.fd;
  c.sb = 1, c.sg = c.b, c.sr = c.g * c.sg, c.se = c.r * c.sr, c.sp = c.e * c.se;
  return c;
}

}  // namespace cuda
}  // namespace einlinear
