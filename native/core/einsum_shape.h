// The sizes of one two-factor einsum layer:
//
//   Y[phi, eps, del] = sum over gam, bet, alp, rho of
//                      A[phi, del, rho, gam, alp] * B[phi, eps, rho, gam, bet] * X[gam, bet, alp]
//
// X is a token's input (dIn numbers, zero-padded or truncated at the end to gam*bet*alp); Y becomes
// its output (phi*eps*del numbers, zero-padded or truncated at the end to dOut).
#pragma once

#include <cstdint>

#include "dims.h"

namespace einlinear {

struct EinsumShape {
  int64_t dIn = 0, dOut = 0;
  int64_t alpha = 1, beta = 1, gamma = 1, delta = 1, epsilon = 1, phi = 1, rho = 1;

  int64_t inner() const { return times(gamma, beta, alpha); }
  int64_t outer() const { return times(phi, epsilon, delta); }
  int64_t sizeA() const { return times(phi, delta, rho, gamma, alpha); }
  int64_t sizeB() const { return times(phi, epsilon, rho, gamma, beta); }

  // Numbers between the stages for a token, A contracted first and B contracted first.
  int64_t sizeZAFirst() const { return times(phi, delta, rho, gamma, beta); }
  int64_t sizeZBFirst() const { return times(phi, epsilon, rho, gamma, alpha); }

  // Multiply-accumulates a token costs when A is contracted first, and when B is.
  int64_t macsAFirst() const { return times(sizeZAFirst(), plus(alpha, epsilon)); }
  int64_t macsBFirst() const { return times(sizeZBFirst(), plus(beta, delta)); }

  // The mirror image: the same operator with B contracted first.
  bool mirrored() const { return macsBFirst() < macsAFirst(); }
};

}  // namespace einlinear
