#include "dispatch.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "../core/error.h"

namespace einlinear {
namespace cpu {
namespace {

#if defined(__x86_64__) || defined(_M_X64)
bool hasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("fma");
}
bool hasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

const Isa kIsas[] = {
#if defined(__x86_64__) || defined(_M_X64)
    {"avx512", avx512::table, hasAvx512},
    {"avx2", avx2::table, hasAvx2},
#endif
    {"portable", portable::table, [] { return true; }},
};

const Isa& choose() {
  const char* wanted = std::getenv("EINLINEAR_ISA");
  std::string names;
  for (const Isa& isa : kIsas) {
    if (!isa.supported()) continue;
    if (wanted == nullptr || *wanted == '\0' || std::strcmp(wanted, isa.name) == 0) return isa;
    names += (names.empty() ? "" : ", ") + std::string(isa.name);
  }
  fail("INVALID_ARGUMENT", "Expected EINLINEAR_ISA to be one of %s on this processor, got '%s'",
       names.c_str(), wanted);
}

}  // namespace

const Isa& chosenIsa() {
  static const Isa& isa = choose();
  return isa;
}

}  // namespace cpu
}  // namespace einlinear
