// Flight records as text, and drops as records.
#include <gtest/gtest.h>

#include "pollux/drivers_glue/telemetry_drops.h"
#include "pollux/drivers_glue/telemetry_flight.h"

namespace pollux {
namespace {

FlightRecord record(FlightEvent event, std::uint8_t code, std::uint32_t detail,
                    SlabHandle connection = {17, 3}) {
  return {.at = TimePoint::from_ns(1'500'000'789),
          .connection = connection,
          .detail = detail,
          .event = event,
          .code = code};
}

TEST(FlightLine, SaysWhenWhichAndWhat) {
  const std::int64_t offset = 1'785'000'000'000'000'000;  // 2026-07-25 17:20:00 UTC
  const std::string head = "2026-07-25 17:20:01.500000 2/17/3 ";
  const auto line = [&](FlightEvent event, int code, std::uint32_t detail) {
    return flight_line(record(event, static_cast<std::uint8_t>(code), detail), 2, offset);
  };
  EXPECT_EQ(line(FlightEvent::state, static_cast<int>(TcpState::fin_wait_2), 0), head + "state FIN-WAIT-2");
  EXPECT_EQ(line(FlightEvent::closed, static_cast<int>(CloseReason::reset_by_peer), 0),
            head + "closed: reset by peer");
  EXPECT_EQ(line(FlightEvent::retransmission, 0, 4711), head + "retransmitted from octet 4711");
  EXPECT_EQ(line(FlightEvent::tail_probe, 0, 9), head + "tail loss probe up to octet 9");
  EXPECT_EQ(line(FlightEvent::marked, 0, 0), head + "congestion marks");
  EXPECT_EQ(line(FlightEvent::fast_recovery, 0, 1000), head + "fast recovery, 1000 octets lost");
  EXPECT_EQ(line(FlightEvent::recovered, 0, 0), head + "recovered");
  EXPECT_EQ(line(FlightEvent::timeout, 2, 0), head + "retransmission timeout 2 in a row");
  EXPECT_EQ(line(FlightEvent::reset_sent, 0, 0), head + "sent RST");
  EXPECT_TRUE(flight_line(record(FlightEvent::long_turn, long_turn_between, 1534, {}), 2, offset)
                  .ends_with(" core 2 turn of 1534 us, longest: between"));
  EXPECT_EQ(flight_line(record(FlightEvent::drops, static_cast<std::uint8_t>(DropReason::no_mbuf), 12, {}), 2,
                        offset),
            "2026-07-25 17:20:01.500000 core 2 dropped 12 x no_mbuf");
}

TEST(DropWatch, RecordsWhatCameSinceItsLastLook) {
  Counters counters;
  FlightRecorder recorder(16);
  DropWatch watch;
  watch.look(counters, recorder, TimePoint::from_ns(1));
  EXPECT_EQ(recorder.count(), 0u);
  counters.drop(DropReason::udp_no_socket, 3);
  counters.drop(DropReason::no_mbuf);
  watch.look(counters, recorder, TimePoint::from_ns(2));
  watch.look(counters, recorder, TimePoint::from_ns(3));
  ASSERT_EQ(recorder.count(), 2u);
  counters.drop(DropReason::no_mbuf, 4);
  watch.look(counters, recorder, TimePoint::from_ns(4));
  ASSERT_EQ(recorder.count(), 3u);
  EXPECT_EQ(recorder[2].code, static_cast<std::uint8_t>(DropReason::no_mbuf));
  EXPECT_EQ(recorder[2].detail, 4u);
  EXPECT_EQ(recorder[2].at, TimePoint::from_ns(4));
}

}  // namespace
}  // namespace pollux
