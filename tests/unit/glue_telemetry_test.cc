// Telemetry without its socket: parameters, names, filters, and what DPDK takes.
#include <gtest/gtest.h>
#include <rte_telemetry.h>

#include <memory>

#include "pollux/drivers_glue/telemetry_answers.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#define POLLUX_LSAN
#endif
#endif

namespace pollux {
namespace {

std::uint64_t number(const TelemetryDict& dict, std::string_view name) {
  const auto* value = dict.find(name);
  return value == nullptr ? ~std::uint64_t{0} : std::get<std::uint64_t>(*value);
}
const TelemetryDict& inner(const TelemetryDict& dict, std::string_view name) {
  return std::get<TelemetryDict>(*dict.find(name));
}

TEST(TelemetryParameters, AreWordsAndKeysInAnyOrder) {
  TelemetryParameters p("0/1/2,limit=7,state=closed");
  EXPECT_EQ(p.take("state"), "closed");
  EXPECT_EQ(p.take_number("limit", 1, 10), 7u);
  EXPECT_EQ(p.take_word(), "0/1/2");
  EXPECT_EQ(p.take_word(), std::nullopt);
  EXPECT_EQ(p.take("state"), std::nullopt);
  EXPECT_NO_THROW(p.finish("nothing"));
  EXPECT_NO_THROW(TelemetryParameters("").finish("nothing"));
}

TEST(TelemetryParameters, MistakesSayWhatWasExpected) {
  const auto error_of = [](auto f) -> std::string {
    try {
      f();
    } catch (const TelemetryError& error) {
      return error.what();
    }
    return "no error";
  };
  for (const char* text :
       {"limit=0", "limit=11", "limit=", "limit=1x", "limit=-1", "limit=18446744073709551617"})
    EXPECT_NE(error_of([&] {
                TelemetryParameters(text).take_number("limit", 1, 10);
              }).find("limit: expected a number from 1 to 10"),
              std::string::npos)
        << text;
  EXPECT_EQ(error_of([] { TelemetryParameters("colour=red").finish("limit=N"); }),
            "'colour': unknown parameter; expected limit=N");
}

TEST(TelemetryFilter, TakesWhatSsTakes) {
  TelemetryParameters p("state=fin_wait_1,remote=192.0.2.9,local_port=7,troubled=1");
  const TcpFilter filter = take_filter(p);
  EXPECT_NO_THROW(p.finish(""));
  EXPECT_EQ(filter.states, 1 << static_cast<int>(TcpState::fin_wait_1));
  EXPECT_EQ(filter.remote, IpAddress::v4(192, 0, 2, 9));
  EXPECT_EQ(filter.local_port, 7);
  EXPECT_TRUE(filter.only_troubled);
}

TEST(ConnectionId, IsTextAndBack) {
  const auto id = ConnectionId::from_string("3/17/4000000000");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->core, 3u);
  EXPECT_EQ(id->handle, (SlabHandle{17, 4'000'000'000u}));
  EXPECT_EQ(id->to_string(), "3/17/4000000000");
  for (const char* text : {"", "1", "1/2", "1/2/", "1/2/3/4", "a/2/3", "1/2/4294967296", "1//3"})
    EXPECT_FALSE(ConnectionId::from_string(text)) << text;
}

TEST(TelemetryAnswers, DpdkTakesEveryNameAndHelpText) {
#ifdef POLLUX_LSAN
  const __lsan::ScopedDisabler inner_answers_are_freed_by_dpdk_once_sent;
#endif
  CoreReport core;
  core.snapshot.loop.turns = 9;
  for (const TelemetryDict& dict : {counters_value(Counters()), core_value(core), connection_value(TcpInfo()),
                                    TelemetryDict().add("0/1/2", connection_summary(TcpInfo()))}) {
    const std::unique_ptr<rte_tel_data, decltype(&rte_tel_data_free)> data(rte_tel_data_alloc(),
                                                                           rte_tel_data_free);
    EXPECT_TRUE(dict.fill(data.get()));
  }
  for (const auto& command : telemetry_commands())
    EXPECT_LT(std::string_view(command.help).size(), 128u) << command.name;
  EXPECT_EQ(number(inner(core_value(core), "loop"), "turns"), 9u);
}

TEST(TelemetryAnswers, ANameThatDpdkRefusesIsNotLostSilently) {
  const std::unique_ptr<rte_tel_data, decltype(&rte_tel_data_free)> data(rte_tel_data_alloc(),
                                                                         rte_tel_data_free);
  EXPECT_FALSE(TelemetryDict().add("a.b", std::uint64_t{1}).fill(data.get()));
}

TEST(TelemetryAnswers, CountersAndDropsAreAllThere) {
  Counters counters;
  counters.add(Counter::tcp_in_segs, 12);
  counters.drop(DropReason::no_mbuf, 3);
  const TelemetryDict value = counters_value(counters);
  EXPECT_EQ(inner(value, "counters").entries().size(), counter_count);
  EXPECT_EQ(inner(value, "drops").entries().size(), drop_reason_count - 1);
  EXPECT_EQ(number(inner(value, "counters"), "TcpInSegs"), 12u);
  EXPECT_EQ(number(inner(value, "drops"), "no_mbuf"), 3u);
}

}  // namespace
}  // namespace pollux
