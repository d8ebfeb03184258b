// The control groups of this process: containers and service managers limit it through them.
#pragma once

#include <string>
#include <vector>

namespace einlinear {

// Folders with the settings of the groups this process is in, its own first, then those around it,
// as far as they can be seen; a limit of any of them holds. `controller` is 'cpu' or 'memory';
// groups of version 2 have one folder for all. Empty where there are none.
std::vector<std::string> controlGroups(const std::string& controller);

}  // namespace einlinear
