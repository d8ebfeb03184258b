// Small fixed-capacity lists of sizes, so that op arguments stay plain data.
#pragma once

#include <cstdint>

namespace einlinear {

constexpr int kMaxRank = 8;

// Sums and products of counts stop at the largest number in place of overflowing: a buffer that
// should hold so many elements is refused.
static inline int64_t plus(int64_t a, int64_t b) {
  int64_t total = 0;
  return __builtin_add_overflow(a, b, &total) ? INT64_MAX : total;
}
static inline int64_t times(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}
template <class... Rest>
static inline int64_t times(int64_t a, int64_t b, Rest... rest) {
  return times(times(a, b), rest...);
}

struct Dims {
  int rank = 0;
  int64_t at[kMaxRank] = {};

  int64_t operator[](int i) const { return at[i]; }
  int64_t& operator[](int i) { return at[i]; }

  int64_t product() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n = times(n, at[i]);
    return n;
  }

  // Elements spanned by a strided view of this shape: the largest index plus one, 0 when empty.
  int64_t extent(const Dims& strides, int64_t offset) const {
    int64_t last = offset;
    for (int i = 0; i < rank; ++i) {
      if (at[i] == 0) return 0;
      last = plus(last, times(at[i] - 1, strides.at[i]));
    }
    return plus(last, 1);
  }
};

}  // namespace einlinear
