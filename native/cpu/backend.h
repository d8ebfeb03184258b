// The CPU backend: a queue served by one thread, which shares the process's worker threads.
#pragma once

#include <memory>

#include "../core/device.h"

namespace einlinear {
namespace cpu {

BackendInfo describe();
std::unique_ptr<Device> open(const DeviceOptions& options);

}  // namespace cpu
}  // namespace einlinear
