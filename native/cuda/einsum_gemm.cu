// The two-factor einsum as strided-batched products, 2 FLOPs a multiply-accumulate; z is written
// and read once, 8 bytes a number. Forward two products, backward five: z is recomputed.
//
// z lies with tokens closest, [p, d, r, g, b, T]. Then every index that a product sums over, or
// that makes up its rows or columns, has one stride, and nothing is transposed or copied; only
// inputs to be padded with zeros are. Tokens are taken in slices, so that z stays bounded.
#include "column_sums.h"
#include "einsum_gemm.h"
#include "gemm.h"
#include "grid.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr int64_t kSliceFloats = int64_t{64} << 20;
constexpr int kZ = kGemmScratch + 1, kDz = kGemmScratch + 2;
constexpr int kPaddedIn = kGemmScratch + 3, kPaddedOut = kGemmScratch + 4;
constexpr int kPaddedDx = kGemmScratch + 5;

// ---- kernels ------------------------------------------------------------------------------------

// to[rows, toWidth] from column `first` on: from[rows, width], and zeros beyond its columns
__global__ void __launch_bounds__(kThreads)
    resizeRowsKernel(int64_t rows, int64_t first, const float* from, int64_t width, float* to,
                     int64_t toWidth) {
  const int64_t columns = toWidth - first;
  forEach(rows * columns, [&](int64_t i) {
    const int64_t row = i / columns, column = first + i % columns;
    to[row * toWidth + column] = column < width ? from[row * width + column] : 0.0f;
  });
}

// ---- launchers ----------------------------------------------------------------------------------

void resizeRows(Context& context, int64_t rows, const float* from, int64_t width, float* to,
                int64_t toWidth) {
  context.launch(resizeRowsKernel, blocksFor(rows * toWidth, 4), dim3(kThreads), 0, rows, 0, from,
                 width, to, toWidth);
}
void zeroBehind(Context& context, int64_t rows, int64_t first, float* to, int64_t toWidth) {
  if (first >= toWidth) return;
  context.launch(resizeRowsKernel, blocksFor(rows * (toWidth - first), 4), dim3(kThreads), 0, rows,
                 first, nullptr, 0, to, toWidth);
}

// The products, in the order of contraction: the first factor F is [p, d, r, g, a], the second S is
// [p, e, r, g, b]; they are A and B, or B and A where that order is cheaper. z and dz are [p, d, r,
// g, b, ld], of which the first `tokens` of ld count; x, y and their gradients have a row a token.
struct Rows {
  float* at;
  int64_t stride;
};
struct ConstRows {
  const float* at;
  int64_t stride;
};

struct Products {
  Context& context;
  int64_t g, b, a, p, d, e, r;
  int64_t xg, xb, xa;   // strides of x's features
  int64_t yp, ye, yd;   // strides of y's features
  int64_t rows, depth;  // of F for a g: (p, d, r); of S for a p: (r, g, b)
  int64_t tokens = 0, ld = 0;

  Products(Context& context_, const EinsumShape& s, bool mirrored)
      : context(context_),
        g(s.gamma),
        b(mirrored ? s.alpha : s.beta),
        a(mirrored ? s.beta : s.alpha),
        p(s.phi),
        d(mirrored ? s.epsilon : s.delta),
        e(mirrored ? s.delta : s.epsilon),
        r(s.rho),
        xg(s.beta * s.alpha),
        xb(mirrored ? 1 : s.alpha),
        xa(mirrored ? s.alpha : 1),
        yp(s.epsilon * s.delta),
        ye(mirrored ? 1 : s.delta),
        yd(mirrored ? s.delta : 1),
        rows(p * d * r),
        depth(r * g * b) {}

  // z[(p, d, r), g, b, t] = sum over a of F[(p, d, r), g, a] x[t, g, b, a]
  void stageOne(const float* f, ConstRows x, float* z) const {
    Gemm m;
    m.m = rows;
    m.n = tokens;
    m.k = a;
    m.outer = g;
    m.inner = b;
    m.a = f;
    m.aStrides = {g * a, 1, a};
    m.b = x.at;
    m.bStrides = {xa, x.stride, xg, xb};
    m.c = z;
    m.cStrides = {g * b * ld, 1, b * ld, ld};
    gemm(context, m);
  }

  // y[t, p, e, d] = sum over (r, g, b) of z[p, d, (r, g, b), t] S[p, e, (r, g, b)] + bias
  void stageTwo(const float* s, const float* z, const float* bias, Rows y) const {
    Gemm m;
    m.m = tokens;
    m.n = e;
    m.k = depth;
    m.outer = p;
    m.inner = d;
    m.a = z;
    m.aStrides = {1, ld, d * depth * ld, depth * ld};
    m.b = s;
    m.bStrides = {1, depth, e * depth};
    m.bias = bias;
    m.biasStrides = {0, ye, yp, yd};
    m.c = y.at;
    m.cStrides = {y.stride, ye, yp, yd};
    gemm(context, m);
  }

  // dz[p, d, (r, g, b), t] = sum over e of S[p, e, (r, g, b)] dy[t, p, e, d]
  void stageTwoBack(const float* s, ConstRows dy, float* dz) const {
    Gemm m;
    m.m = depth;
    m.n = tokens;
    m.k = e;
    m.outer = p;
    m.inner = d;
    m.a = s;
    m.aStrides = {1, depth, e * depth};
    m.b = dy.at;
    m.bStrides = {ye, dy.stride, yp, yd};
    m.c = dz;
    m.cStrides = {ld, 1, d * depth * ld, depth * ld};
    gemm(context, m);
  }

  // dx[t, g, b, a] = sum over (p, d, r) of dz[(p, d, r), g, b, t] F[(p, d, r), g, a]
  void stageOneBack(const float* f, const float* dz, Rows dx) const {
    Gemm m;
    m.m = tokens;
    m.n = a;
    m.k = rows;
    m.outer = g;
    m.inner = b;
    m.a = dz;
    m.aStrides = {1, g * b * ld, b * ld, ld};
    m.b = f;
    m.bStrides = {g * a, 1, a};
    m.c = dx.at;
    m.cStrides = {dx.stride, xa, xg, xb};
    gemm(context, m);
  }

  // dF[(p, d, r), g, a] (+)= sum over b and t of dz[(p, d, r), g, b, t] x[t, g, b, a]
  void firstGradient(const float* dz, ConstRows x, float* df, bool accumulate) const {
    Gemm m;
    m.m = rows;
    m.n = a;
    m.k = tokens;
    m.outer = g;
    m.sums = b;
    m.a = dz;
    m.aStrides = {g * b * ld, 1, b * ld, 0, ld};
    m.b = x.at;
    m.bStrides = {x.stride, xa, xg, 0, xb};
    m.c = df;
    m.cStrides = {g * a, 1, a};
    m.accumulate = accumulate;
    gemm(context, m);
  }

  // dS[p, e, (r, g, b)] (+)= sum over d and t of dy[t, p, e, d] z[p, d, (r, g, b), t]
  void secondGradient(ConstRows dy, const float* z, float* ds, bool accumulate) const {
    Gemm m;
    m.m = e;
    m.n = depth;
    m.k = tokens;
    m.outer = p;
    m.sums = d;
    m.a = dy.at;
    m.aStrides = {ye, dy.stride, yp, 0, yd};
    m.b = z;
    m.bStrides = {1, ld, d * depth * ld, 0, depth * ld};
    m.c = ds;
    m.cStrides = {depth, 1, e * depth};
    m.accumulate = accumulate;
    gemm(context, m);
  }
};

// Tokens of a slice, where a token needs `floats` of scratch memory.
int64_t sliceOf(int64_t tokens, int64_t floats) {
  int64_t slice = kSliceFloats / floats;
  if (slice > 128) slice = slice / 128 * 128;
  if (slice < 1) slice = 1;
  return slice < tokens ? slice : tokens;
}

// `rows` where its width suffices, else a copy of it, padded with zeros.
ConstRows padded(Context& context, int slot, int64_t tokens, const float* rows, int64_t width,
                 int64_t needed) {
  if (width >= needed) return {rows, width};
  float* wide = context.scratch<float>(slot, times(tokens, needed));
  resizeRows(context, tokens, rows, width, wide, needed);
  return {wide, needed};
}

// Where to write rows of `needed` numbers of which `width` are asked for.
Rows target(Context& context, int slot, int64_t tokens, float* rows, int64_t width,
            int64_t needed) {
  if (width >= needed) return {rows, width};
  return {context.scratch<float>(slot, times(tokens, needed)), needed};
}

// Brings what was written there to `rows`.
void finish(Context& context, int64_t tokens, Rows written, float* rows, int64_t width,
            int64_t needed) {
  if (written.at != rows)
    resizeRows(context, tokens, written.at, written.stride, rows, width);
  else
    zeroBehind(context, tokens, needed, rows, width);
}

}  // namespace

void einsumByGemm(Context& context, const EinsumArgs& args) {
  const EinsumShape& shape = args.shape;
  const bool mirrored = shape.mirrored();
  const float *f = mirrored ? args.b : args.a, *s = mirrored ? args.a : args.b;
  Products products(context, shape, mirrored);
  const int64_t inner = shape.inner(), outer = shape.outer(), dIn = shape.dIn, dOut = shape.dOut;
  const int64_t zs = products.rows * products.g * products.b;
  const int64_t slice =
      sliceOf(args.tokens, zs + (dIn < inner ? inner : 0) + (dOut < outer ? outer : 0));
  products.ld = ceilDiv(slice, 4) * 4;
  for (int64_t from = 0; from < args.tokens; from += slice) {
    const int64_t tokens = products.tokens =
        slice < args.tokens - from ? slice : args.tokens - from;
    float* z = context.scratch<float>(kZ, times(zs, products.ld));
    float* y = args.y + from * dOut;
    products.stageOne(f, padded(context, kPaddedIn, tokens, args.x + from * dIn, dIn, inner), z);
    const Rows rows = target(context, kPaddedOut, tokens, y, dOut, outer);
    products.stageTwo(s, z, args.bias, rows);
    finish(context, tokens, rows, y, dOut, outer);
  }
}

void einsumBackwardByGemm(Context& context, const EinsumBackwardArgs& args) {
  const EinsumShape& shape = args.shape;
  const bool mirrored = shape.mirrored();
  const float *f = mirrored ? args.b : args.a, *s = mirrored ? args.a : args.b;
  float *df = mirrored ? args.db : args.da, *ds = mirrored ? args.da : args.db;
  Products products(context, shape, mirrored);
  const int64_t inner = shape.inner(), outer = shape.outer(), dIn = shape.dIn, dOut = shape.dOut;
  const int64_t zs = products.rows * products.g * products.b;
  const int64_t slice =
      sliceOf(args.tokens, 2 * zs + (dIn < inner ? 2 * inner : 0) + (dOut < outer ? outer : 0));
  products.ld = ceilDiv(slice, 4) * 4;
  // At least once, so that the gradients of no tokens are 0.
  for (int64_t from = 0; from == 0 || from < args.tokens; from += slice) {
    const int64_t tokens = products.tokens =
        slice < args.tokens - from ? slice : args.tokens - from;
    const ConstRows dy = padded(context, kPaddedOut, tokens, args.dy + from * dOut, dOut, outer);
    ConstRows x = {};
    if (df != nullptr || ds != nullptr)
      x = padded(context, kPaddedIn, tokens, args.x + from * dIn, dIn, inner);
    if (ds != nullptr) {
      float* z = context.scratch<float>(kZ, times(zs, products.ld));
      products.stageOne(f, x, z);
      products.secondGradient(dy, z, ds, from > 0);
    }
    if (df != nullptr || args.dx != nullptr) {
      float* dz = context.scratch<float>(kDz, times(zs, products.ld));
      products.stageTwoBack(s, dy, dz);
      if (df != nullptr) products.firstGradient(dz, x, df, from > 0);
      if (args.dx != nullptr) {
        float* dx = args.dx + from * dIn;
        const Rows rows = target(context, kPaddedDx, tokens, dx, dIn, inner);
        products.stageOneBack(f, dz, rows);
        finish(context, tokens, rows, dx, dIn, inner);
      }
    }
    if (slice == 0) break;
  }
  if (args.dbias != nullptr) {
    columnSums(context, 1, nullptr, args.tokens, dOut < outer ? dOut : outer, args.dy, dOut,
               args.dbias);
    zeroBehind(context, 1, dOut, args.dbias, outer);
  }
}

}  // namespace cuda
}  // namespace einlinear
