#include "backend_library.h"

#include <cstdlib>

#if !defined(_WIN32)
#include <dlfcn.h>
#include <unistd.h>
#endif

namespace einlinear {

#if defined(_WIN32)

const BackendLibrary* openBackendLibrary(const char*, const char*, std::string& reason) {
  reason = "there is no such backend for Windows";
  return nullptr;
}

#else

const BackendLibrary* openBackendLibrary(const char* file, const char* variable,
                                         std::string& reason) {
  std::string path;
  const char* chosen = std::getenv(variable);
  if (chosen != nullptr && *chosen != '\0') {
    path = chosen;
  } else {
    Dl_info self;
    if (dladdr(reinterpret_cast<const void*>(&openBackendLibrary), &self) != 0 &&
        self.dli_fname != nullptr)
      path = self.dli_fname;
    path = path.substr(0, path.rfind('/') + 1) + file;
  }
  if (access(path.c_str(), F_OK) != 0) {
    reason = "this build has no " + path;
    return nullptr;
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    reason = dlerror();
    return nullptr;
  }
  const auto entry =
      reinterpret_cast<const BackendLibrary* (*)()>(dlsym(library, "einlinearBackend"));
  const BackendLibrary* backend = entry == nullptr ? nullptr : entry();
  if (backend == nullptr || backend->tableSize != sizeof(OpTable)) {
    reason = path + " is of another version of einlinear";
    return nullptr;
  }
  return backend;
}

#endif

}  // namespace einlinear
