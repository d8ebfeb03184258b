// The fused BTT-MoE kernels in bfloat16.
#include "btt_moe_launch.h"

namespace einlinear {
namespace cuda {
namespace btt {

template bool fusedForward<Bf16>(Context&, const Operator&, const Choices&, const BttMoeArgs&);
template bool fusedBackward<Bf16>(Context&, const Operator&, const Choices&,
                                  const BttMoeBackwardArgs&);

}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
