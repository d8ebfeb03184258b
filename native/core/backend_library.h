// What a backend in a shared library of its own exports (`einlinearBackend`), and how it is found.
#pragma once

#include <memory>

#include "device.h"

namespace einlinear {

struct BackendLibrary {
  size_t tableSize;  // sizeof(OpTable): a library of another version is refused
  BackendInfo (*describe)();
  std::unique_ptr<Device> (*open)(const DeviceOptions&);
};

// Opens the library `file` (for good: code may still run when the last device is gone) from the
// folder of the addon, or from where the environment variable `variable` says. Null where there is
// none that can be used; `reason` says why.
const BackendLibrary* openBackendLibrary(const char* file, const char* variable,
                                         std::string& reason);

}  // namespace einlinear
