// Every script under this folder is a test: script_<topic>.<name>. Their paths are fixed at build time.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "runner.h"

#ifndef POLLUX_SCRIPTS
#error "meson.build says where the scripts are"
#endif

namespace pollux::test {
namespace {

class ScriptTest : public testing::Test {
 public:
  explicit ScriptTest(std::string path) : path_(std::move(path)) {}
  void TestBody() override {
    try {
      const Script script = load_script(path_);
      Runner(script).run();
    } catch (const ScriptError& error) {
      FAIL() << error.what();
    }
  }

 private:
  std::string path_;
};

void register_scripts() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(POLLUX_SCRIPTS))
    if (entry.path().extension() == ".script") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    const std::string suite = "script_" + path.parent_path().filename().string();
    testing::RegisterTest(suite.c_str(), path.stem().c_str(), nullptr, nullptr, path.c_str(), 1,
                          [path]() -> ScriptTest* { return new ScriptTest(path.string()); });
  }
}

}  // namespace
}  // namespace pollux::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  pollux::test::register_scripts();
  return RUN_ALL_TESTS();
}
