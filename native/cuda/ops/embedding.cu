// embedding and embeddingBackward: rows of a table, [vocab, width], by token id.
//
// The gradient sorts the tokens by id (stable) and cuts the sorted tokens into tiles, so that the
// work is even however often an id occurs. A tile writes the rows whose tokens are all its own;
// what it has of the others goes to memory of its own, and a second kernel adds that up in order,
// and writes the rows without a token. Bytes: 8 a number of y forward; 4 a number of dy and of
// dtable backward, and the sort.
#include "../block_reduce.h"
#include "../sort.h"
#include "ops.h"

namespace einlinear {
namespace cuda {
namespace {

constexpr int kTileTokens = 32;
constexpr int kLoads = 8;  // under way at a time

// ---- kernels ------------------------------------------------------------------------------------

// y[tokens, width] = table[ids[tokens], width], zeros for an id that is not in the table [vocab,
// width]. A block takes a token.
__global__ void __launch_bounds__(kRowThreads)
    embeddingKernel(Status* status, int64_t vocab, int64_t width, const int32_t* ids,
                    const float* __restrict__ table, float* __restrict__ y) {
  const int64_t token = blockIdx.x, id = ids[token];
  const bool found = id >= 0 && id < vocab;
  if (!found && threadIdx.x == 0) report(status, Problem::tokenId, id, vocab, token);
#pragma unroll 4
  for (int64_t column = threadIdx.x; column < width; column += blockDim.x)
    y[token * width + column] = found ? table[id * width + column] : 0;
}

// The tile's sorted tokens, order[tile * kTileTokens ..], and their ids. A run of one id that lies
// in the tile goes to dtable[vocab, width]; the one that begins before the tile, or with it and
// goes on beyond it, to parts[tile, 0, width]; another that goes on beyond it to parts[tile, 1,
// width]. Ids that are not in the table come last, and are left out.
// ids: [tokens]; dy: [tokens, width]; offsets: [vocab + 1]. A block takes kThreads columns.
__global__ void __launch_bounds__(kThreads)
    sumTilesKernel(int64_t vocab, int64_t width, int64_t slices, const int32_t* ids,
                   const float* dy, const int32_t* order, const int32_t* offsets, float* dtable,
                   float* parts) {
  __shared__ int32_t token[kTileTokens], id[kTileTokens];
  const int64_t tile = blockIdx.x / slices, begin = tile * kTileTokens;
  const int64_t column = blockIdx.x % slices * kThreads + threadIdx.x;
  const int64_t rest = offsets[vocab] - begin;
  const int count = rest < kTileTokens ? static_cast<int>(rest < 0 ? 0 : rest) : kTileTokens;
  if (static_cast<int>(threadIdx.x) < count) {
    token[threadIdx.x] = order[begin + threadIdx.x];
    id[threadIdx.x] = ids[token[threadIdx.x]];
  }
  __syncthreads();
  if (column >= width) return;
  float sum = 0;
  for (int first = 0; first < count; first += kLoads) {
    float value[kLoads];
#pragma unroll
    for (int u = 0; u < kLoads; ++u)
      value[u] = first + u < count ? dy[token[first + u] * width + column] : 0;
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      const int at = first + u;
      if (at >= count) break;
      sum += value[u];
      const int32_t here = id[at];
      if (at + 1 < count && id[at + 1] == here) continue;
      const bool before = offsets[here]<begin, beyond = offsets[here + 1]> begin + count;
      if (!before && !beyond)
        dtable[here * width + column] = sum;
      else
        parts[(2 * tile + (id[0] == here ? 0 : 1)) * width + column] = sum;
      sum = 0;
    }
  }
}

// Rows of dtable[vocab, width] with tokens in no tile, or in several; the rest is written already.
// A block takes a row.
__global__ void __launch_bounds__(kRowThreads)
    sumPartsKernel(int64_t width, const int32_t* offsets, const float* parts, float* dtable) {
  const int64_t id = blockIdx.x;
  const int32_t begin = offsets[id], end = offsets[id + 1];
  const int64_t first = begin / kTileTokens, last = (end - 1) / kTileTokens;
  if (begin < end && first == last) return;
  const float* beginning = parts + (2 * first + (begin % kTileTokens == 0 ? 0 : 1)) * width;
  for (int64_t column = threadIdx.x; column < width; column += blockDim.x) {
    double sum = begin < end ? beginning[column] : 0;
    if (begin < end)
#pragma unroll 4
      for (int64_t tile = first + 1; tile <= last; ++tile) sum += parts[2 * tile * width + column];
    dtable[id * width + column] = static_cast<float>(sum);
  }
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

void embedding(Context& context, const EmbeddingArgs& args) {
  context.launch(embeddingKernel, dim3(static_cast<unsigned>(args.tokens)), rowThreads(args.width),
                 0, context.status(), args.vocab, args.width, args.ids, args.table, args.y);
}

void embeddingBackward(Context& context, const EmbeddingBackwardArgs& args) {
  const int64_t tiles = ceilDiv(args.tokens, kTileTokens), slices = ceilDiv(args.width, kThreads);
  int32_t* order = context.scratch<int32_t>(0, args.tokens);
  int32_t* offsets = context.scratch<int32_t>(1, args.vocab + 1);
  float* parts = context.scratch<float>(2, 2 * tiles * args.width);
  sortByKey(context, args.ids, args.tokens, args.vocab, order, offsets, 3, Problem::tokenId);
  context.launch(sumTilesKernel, dim3(static_cast<unsigned>(tiles * slices)), dim3(kThreads), 0,
                 args.vocab, args.width, slices, args.ids, args.dy, order, offsets, args.dtable,
                 parts);
  context.launch(sumPartsKernel, dim3(static_cast<unsigned>(args.vocab)), rowThreads(args.width), 0,
                 args.width, offsets, parts, args.dtable);
}

}  // namespace cuda
}  // namespace einlinear
