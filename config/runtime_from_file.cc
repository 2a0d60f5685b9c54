// The only part of config/ that starts anything; apart so that reading a file needs no EAL.
#include "pollux/config/load.h"
#include "pollux/drivers_glue/runtime.h"

namespace pollux {

Runtime Runtime::from_file(const std::string& path) {
  const Config config = load_config(path);
  Runtime runtime(config);
  runtime.describe_config(config_listing(config));
  return runtime;
}

}  // namespace pollux
