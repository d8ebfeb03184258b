// From the kind of a unary op, known when it runs, to the struct of a backend that computes it.
#pragma once

#include "ops.h"

// Returns run<Struct>(context, args) for the Struct that is named as args.kind.
#define EINLINEAR_UNARY_KINDS(run)           \
  switch (args.kind) {                       \
    case Unary::neg:                         \
      return run<Neg>(context, args);        \
    case Unary::exp:                         \
      return run<Exp>(context, args);        \
    case Unary::log:                         \
      return run<Log>(context, args);        \
    case Unary::sqrt:                        \
      return run<Sqrt>(context, args);       \
    case Unary::square:                      \
      return run<Square>(context, args);     \
    case Unary::abs:                         \
      return run<Abs>(context, args);        \
    case Unary::relu:                        \
      return run<Relu>(context, args);       \
    case Unary::geluErf:                     \
      return run<GeluErf>(context, args);    \
    case Unary::geluTanh:                    \
      return run<GeluTanh>(context, args);   \
    case Unary::tanh:                        \
      return run<Tanh>(context, args);       \
    case Unary::sigmoid:                     \
      return run<Sigmoid>(context, args);    \
    case Unary::reciprocal:                  \
      return run<Reciprocal>(context, args); \
  }
