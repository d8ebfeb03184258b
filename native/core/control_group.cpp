#include "control_group.h"

#include <fstream>
#include <sstream>

namespace einlinear {

std::vector<std::string> controlGroups(const std::string& controller) {
  const std::string root = "/sys/fs/cgroup";
  std::vector<std::string> folders;
  // In a container the path may be that of the host, of which only the root is mounted: folders
  // that are not there hold no files to read.
  const auto add = [&](const std::string& mount, std::string path) {
    while (!path.empty() && path != "/") {
      folders.push_back(mount + path);
      path.erase(path.rfind('/'));
    }
    folders.push_back(mount);
  };
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {  // number:controllers:path, without controllers in version 2
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || second + 1 >= line.size() || line[second + 1] != '/')
      continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      add(root, path);
      continue;
    }
    std::istringstream names(controllers);
    std::string name;
    while (std::getline(names, name, ',')) {
      if (name != controller) continue;
      add(root + "/" + controller, path);
      if (controllers != controller) add(root + "/" + controllers, path);
    }
  }
  return folders;
}

}  // namespace einlinear
