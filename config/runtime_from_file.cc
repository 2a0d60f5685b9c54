// The only part of config/ that starts anything; apart so that reading a file needs no EAL.
#include "pollux/config/load.h"
#include "pollux/drivers_glue/runtime.h"

namespace pollux {

Runtime Runtime::from_file(const std::string& path) {
  return Runtime(load_config(path));
}

}  // namespace pollux
