// A core that sleeps is woken by whoever leaves something for it, and by time.
#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <thread>

#include "pollux/drivers_glue/waiter.h"

namespace pollux {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

bool is_readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, 0) == 1;
}

TEST(Doorbell, RingsOnlyForACoreThatIsAboutToSleep) {
  Doorbell bell;
  bell.ring();
  EXPECT_FALSE(is_readable(bell.fd())) << "a core that polls looks by itself";
  bell.arm();
  EXPECT_FALSE(is_readable(bell.fd()));
  bell.ring();
  bell.ring();
  EXPECT_TRUE(is_readable(bell.fd()));
  bell.disarm();
  EXPECT_FALSE(is_readable(bell.fd())) << "heard, however often it rang";
  bell.ring();
  EXPECT_FALSE(is_readable(bell.fd()));
}

TEST(Waiter, SleepsUntilTheBellRings) {
  Doorbell bell;
  Waiter waiter(bell);
  waiter.arm();
  std::thread visitor([&] {
    std::this_thread::sleep_for(50ms);
    bell.ring();
  });
  const auto began = Clock::now();
  waiter.sleep(Duration::from_s(20));
  const auto slept = Clock::now() - began;
  waiter.disarm();
  visitor.join();
  EXPECT_GE(slept, 40ms);
  EXPECT_LT(slept, 10s);
}

TEST(Waiter, ABellThatRangBetweenArmingAndSleepingIsHeard) {
  Doorbell bell;
  Waiter waiter(bell);
  waiter.arm();
  bell.ring();
  const auto began = Clock::now();
  waiter.sleep(Duration::from_s(20));
  EXPECT_LT(Clock::now() - began, 10s);
  waiter.disarm();
}

TEST(Waiter, SleepsNoLongerThanAsked) {
  Doorbell bell;
  Waiter waiter(bell);
  const auto began = Clock::now();
  waiter.arm();
  waiter.sleep(Duration::from_us(300));
  waiter.disarm();
  EXPECT_GE(Clock::now() - began, 300us);
  EXPECT_LT(Clock::now() - began, 10s);
}

}  // namespace
}  // namespace pollux
