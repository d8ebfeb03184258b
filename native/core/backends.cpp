#include "../cpu/backend.h"
#include "device.h"

namespace einlinear {

std::vector<BackendInfo> describeBackends() { return {cpu::describe()}; }

std::unique_ptr<Device> openDevice(const std::string& backend, const DeviceOptions& options) {
  if (backend == "cpu") return cpu::open(options);
  fail("BACKEND_UNAVAILABLE", "Expected the backend to be one of cpu, got '%s'", backend.c_str());
}

}  // namespace einlinear
