// The only part of config/ that starts anything; apart so that reading a file needs no EAL.
#include "pollux/config/live_config_file.h"
#include "pollux/drivers_glue/runtime.h"

namespace pollux {

Runtime Runtime::from_file(const std::string& path) {
  const Config config = load_config(path);
  Runtime runtime(config);
  runtime.describe_config(config_listing(config));
  runtime.change_config_from(std::make_unique<LiveConfigFile>(path, config));
  return runtime;
}

}  // namespace pollux
