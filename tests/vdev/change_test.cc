// A change of the configuration on two cores: on both or on neither.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include "child.h"
#include "pollux/drivers_glue/runtime.h"

namespace pollux {
namespace {

using namespace std::chrono_literals;

const IpPrefix other_address = *IpPrefix::from_string("10.77.0.9/24");

/// Proposes another address, whatever is asked.
class OtherAddress final : public ConfigSource {
 public:
  OtherAddress(const Config& config, std::atomic<int>& adopted) : config_(config), adopted_(adopted) {
    config_.ports[0].addresses = {other_address};
  }
  ConfigProposal reload() override { return {config_, {}, {{"ports[0].addresses", "", "10.77.0.9/24", true}}}; }
  ConfigProposal set(const std::string&, const std::string&) override { return reload(); }
  void adopt() noexcept override { ++adopted_; }

 private:
  Config config_;
  std::atomic<int>& adopted_;
};

struct Outcome {
  std::atomic<int> adopted = 0, prepared = 0, committed = 0, undone = 0, cores_with_it = 0;
};

/// SIGHUP to two cores of which the second refuses or not; what happened.
void reload_on_two_cores(bool refuse, Outcome& outcome) {
  Config config = test::device_config("net_null0");
  const unsigned cpu = static_cast<unsigned>(sched_getcpu());
  config.cores = {cpu, cpu};
  config.share_cpus = true;
  Runtime runtime(config);
  runtime.change_config_from(std::make_unique<OtherAddress>(config, outcome.adopted));
  runtime.on_each_core_change({.prepare = [&](Stack&) -> Result<void> {
                                 if (++outcome.prepared == 2 && refuse)
                                   return failure(ErrorCode::limit_reached, "no room on this one");
                                 return {};
                               },
                               .finish = [&](Stack&, bool committed) {
                                 ++(committed ? outcome.committed : outcome.undone);
                               }});
  runtime.on_each_core_stopped([&](Stack& stack) { outcome.cores_with_it += stack.ip().is_local(other_address.address); });
  std::thread operating([&] {
    std::this_thread::sleep_for(50ms);
    kill(getpid(), SIGHUP);
    for (int i = 0; i < 500 && outcome.committed + outcome.undone < (refuse ? 1 : 2); ++i) std::this_thread::sleep_for(10ms);
    std::this_thread::sleep_for(50ms);
    runtime.stop();
  });
  EXPECT_EQ(runtime.run(), 0);
  operating.join();
}

TEST(ChangeOnCores, ReachesAllOfThem) {
  test::expect_in_child([] {
    Outcome outcome;
    reload_on_two_cores(false, outcome);
    EXPECT_EQ(outcome.committed, 2);
    EXPECT_EQ(outcome.cores_with_it, 2);
    EXPECT_EQ(outcome.adopted, 1);
  });
}

TEST(ChangeOnCores, IsUndoneWhereOneRefuses) {
  test::expect_in_child([] {
    Outcome outcome;
    reload_on_two_cores(true, outcome);
    EXPECT_EQ(outcome.prepared, 2);
    EXPECT_EQ(outcome.undone, 1) << "the core that had prepared; the other one undoes its own";
    EXPECT_EQ(outcome.committed, 0);
    EXPECT_EQ(outcome.cores_with_it, 0);
    EXPECT_EQ(outcome.adopted, 0);
  });
}

}  // namespace
}  // namespace pollux
