// embedding and embeddingBackward: rows of a table, [vocab, width], by token id.
//
// The gradient sorts the tokens by id (stable), so that each row of the table has one writer and
// adds its tokens in order. Bytes: 8 a number of y forward; 4 a number of dy and of dtable
// backward.
#include <string.h>

#include "indices.h"
#include "ops.h"

namespace einlinear {
namespace cpu {
namespace EINLINEAR_ISA {
namespace {

constexpr int64_t kColumns = 256;
constexpr int64_t kTokens = 64;  // summed in single precision at a time

// out[0..n) = sum of dy[tokens[i]][0..n), i < count.
void sumTokens(const float* dy, int64_t width, const int32_t* tokens, int64_t count, float* out,
               int64_t n) {
  if (count == 0) {
    memset(out, 0, static_cast<size_t>(n) * sizeof(float));
    return;
  }
  double total[kColumns];
  for (int64_t from = 0; from < count; from += kTokens) {
    const int64_t to = minOf(from + kTokens, count);
    memcpy(out, dy + tokens[from] * width, static_cast<size_t>(n) * sizeof(float));
    for (int64_t i = from + 1; i < to; ++i) {
      const float* row = dy + tokens[i] * width;
      for (int64_t c = 0; c < n; ++c) out[c] += row[c];
    }
    if (count <= kTokens) return;
    for (int64_t c = 0; c < n; ++c)
      total[c] = (from > 0 ? total[c] : 0.0) + static_cast<double>(out[c]);
  }
  for (int64_t c = 0; c < n; ++c) out[c] = static_cast<float>(total[c]);
}

}  // namespace

void embedding(Context& context, const EmbeddingArgs& args) {
  checkIndices("token ids", args.ids, args.tokens, args.vocab);
  context.blocks(args.tokens, rowsPerTask(args.width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      memcpy(args.y + t * args.width, args.table + args.ids[t] * args.width,
             static_cast<size_t>(args.width) * sizeof(float));
  });
}

void embeddingBackward(Context& context, const EmbeddingBackwardArgs& args) {
  checkIndices("token ids", args.ids, args.tokens, args.vocab);
  int32_t* order = reinterpret_cast<int32_t*>(context.scratch(0, args.tokens));
  int32_t* offsets = reinterpret_cast<int32_t*>(context.scratch(1, args.vocab + 1));
  sortByKey(context, args.ids, args.tokens, args.vocab, order, offsets, 2);
  // Few rows of the table may hold most tokens, so a task is a few rows of a slice of columns.
  const int64_t slices = ceilDiv(args.width, kColumns);
  const int64_t rows = minOf(32, maxOf(1, args.vocab / 64));
  const int64_t blocks = ceilDiv(args.vocab, rows);
  context.parallel(blocks * slices, [&](int64_t task, int) {
    const int64_t column = task % slices * kColumns, n = minOf(kColumns, args.width - column);
    const int64_t first = task / slices * rows;
    for (int64_t v = first; v < minOf(first + rows, args.vocab); ++v)
      sumTokens(args.dy + column, args.width, order + offsets[v], offsets[v + 1] - offsets[v],
                args.dtable + v * args.width + column, n);
  });
}

}  // namespace EINLINEAR_ISA
}  // namespace cpu
}  // namespace einlinear
