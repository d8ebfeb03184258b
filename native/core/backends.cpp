#include <cstdlib>

#include "../cpu/backend.h"
#include "backend_library.h"
#include "device.h"

namespace einlinear {
namespace {

struct Loaded {
  const BackendLibrary* library;
  std::string reason;
};

const Loaded& cuda() {
  static const Loaded loaded = [] {
    Loaded result;
    result.library =
        openBackendLibrary("libeinlinear_cuda.so", "EINLINEAR_CUDA_LIBRARY", result.reason);
    return result;
  }();
  return loaded;
}

// The CUDA sources on the CPU (native/emulation), for tests: only where the environment names it.
constexpr const char* kEmulation = "EINLINEAR_CUDA_EMULATION";
const Loaded& cudaEmulated() {
  static const Loaded loaded = [] {
    Loaded result{nullptr, std::string("set ") + kEmulation + " to the library of the emulation"};
    if (std::getenv(kEmulation) != nullptr)
      result.library = openBackendLibrary("", kEmulation, result.reason);
    return result;
  }();
  return loaded;
}

BackendInfo describe(const char* name, const Loaded& loaded) {
  BackendInfo info;
  if (loaded.library != nullptr)
    info = loaded.library->describe();
  else
    info.reason = loaded.reason;
  info.name = name;
  return info;
}

std::unique_ptr<Device> open(const char* name, const Loaded& loaded, const DeviceOptions& options) {
  const BackendInfo info = describe(name, loaded);
  if (!info.available) fail("BACKEND_UNAVAILABLE", "%s: %s", name, info.reason.c_str());
  return loaded.library->open(options);
}

}  // namespace

std::vector<BackendInfo> describeBackends() {
  std::vector<BackendInfo> all = {cpu::describe(), describe("cuda", cuda())};
  if (std::getenv(kEmulation) != nullptr) all.push_back(describe("cuda-emulated", cudaEmulated()));
  return all;
}

std::unique_ptr<Device> openDevice(const std::string& backend, const DeviceOptions& options) {
  if (backend == "cpu") return cpu::open(options);
  if (backend == "cuda") return open("cuda", cuda(), options);
  if (backend == "cuda-emulated") return open("cuda-emulated", cudaEmulated(), options);
  fail("BACKEND_UNAVAILABLE", "Expected the backend to be one of cpu, cuda, got '%s'",
       backend.c_str());
}

}  // namespace einlinear
