#include "pollux/base/flight_recorder.h"

#include <gtest/gtest.h>

#include "pollux/base/check_hook.h"

namespace pollux {
namespace {

TEST(FlightRecorder, KeepsTheLastRecordsInOrder) {
  FlightRecorder recorder(8);
  EXPECT_EQ(recorder.count(), 0u);
  EXPECT_EQ(recorder.first(), 0u);
  for (std::uint32_t i = 0; i < 21; ++i)
    recorder.record({.at = TimePoint::from_ns(i), .connection = {}, .detail = i});
  EXPECT_EQ(recorder.count(), 21u);
  EXPECT_EQ(recorder.first(), 13u);
  for (std::uint64_t i = recorder.first(); i < recorder.count(); ++i) EXPECT_EQ(recorder[i].detail, i);
}

TEST(FlightRecorder, OfNoCapacityKeepsNothing) {
  FlightRecorder recorder(0);
  recorder.record({});
  EXPECT_EQ(recorder.count(), 0u);
}

TEST(FlightRecorderDeathTest, TakesPowersOfTwoOnly) {
  EXPECT_DEATH(FlightRecorder(100), "flight recorder of 100 records");
}

void say_more() noexcept {
  std::fputs("said by the hook\n", stderr);
  POLLUX_CHECK(false, "in the hook");
}

TEST(CheckHookDeathTest, SpeaksAfterTheMessageAndOnlyOnce) {
  EXPECT_DEATH(
      {
        set_check_hook(say_more);
        POLLUX_CHECK(1 > 2, "the reason");
      },
      "the reason\nsaid by the hook\n.*in the hook\n$");
}

}  // namespace
}  // namespace pollux
