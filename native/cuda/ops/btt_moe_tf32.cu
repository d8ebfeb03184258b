// The fused BTT-MoE kernels in tf32.
#include "btt_moe_launch.h"

namespace einlinear {
namespace cuda {
namespace btt {

template bool fusedForward<Tf32>(Context&, const Operator&, const Choices&, const BttMoeArgs&);
template bool fusedBackward<Tf32>(Context&, const Operator&, const Choices&,
                                  const BttMoeBackwardArgs&);

}  // namespace btt
}  // namespace cuda
}  // namespace einlinear
