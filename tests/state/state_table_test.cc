// RFC 9293 3.10.7 as a table: state + segment -> state + reply + reason. One row serves every state it names,
// and each pair of row and state is a test of its own.
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "state_driver.h"

namespace pollux::test {
namespace {

enum class Reply : std::uint8_t {
  none,
  ack,      ///< <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>
  syn_ack,  ///< <SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>
  rst,      ///< <SEQ=SEG.ACK><CTL=RST>
  rst_ack,  ///< <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
  any,      ///< the RFC leaves it open
};

/// What a segment says, relative to where the connection is.
struct In {
  std::uint8_t flags = 0;
  std::int64_t seq = 0;  ///< from RCV.NXT
  std::int64_t ack = 0;  ///< from SND.NXT
  std::uint32_t len = 0;
};

struct Out {
  Reply reply = Reply::none;
  std::optional<TcpState> after = {};      ///< nothing: the same
  std::int64_t accepts = 0;                ///< how far RCV.NXT moves
  std::vector<DropReason> reasons = {};    ///< one of these; empty: not looked at. `none`: not dropped
  std::optional<CloseReason> closed = {};  ///< on_closed is called with this
};

struct Row {
  const char* name;
  int states;
  In in;
  Out out;
};

constexpr std::uint32_t window = 65535;  // of plain_tcp()
constexpr int synchronized = ESTAB | FIN_WAIT_1 | FIN_WAIT_2 | CLOSE_WAIT | CLOSING | LAST_ACK;
constexpr int receiving = ESTAB | FIN_WAIT_1 | FIN_WAIT_2;
constexpr int fin_received = CLOSE_WAIT | CLOSING | LAST_ACK;
constexpr int syn_received = SYN_RCVD | SYN_RCVD_ACTIVE;

using D = DropReason;
using S = TcpState;
using C = CloseReason;

// clang-format off
const std::vector<Row> rows = {
  // --- 3.10.7.1 CLOSED: everything but a RST is answered by a RST.
  {"RstIsIgnored", CLOSED, {RST}, {Reply::none, {}, 0, {D::tcp_no_connection}}},
  {"RstAckIsIgnored", CLOSED, {RST | ACK, 0, 5}, {Reply::none, {}, 0, {D::tcp_no_connection}}},
  {"AckIsResetAtItsAck", CLOSED, {ACK, 0, 777}, {Reply::rst, {}, 0, {D::tcp_no_connection}}},
  {"DataIsResetAtItsAck", CLOSED, {ACK, 0, 777, 100}, {Reply::rst, {}, 0, {D::tcp_no_connection}}},
  {"FinAckIsResetAtItsAck", CLOSED, {FIN | ACK, 0, 777}, {Reply::rst, {}, 0, {D::tcp_no_connection}}},
  {"SynAckIsResetAtItsAck", CLOSED, {SYN | ACK, 0, 777}, {Reply::rst, {}, 0, {D::tcp_no_connection}}},
  {"SynIsResetWithAckOfSyn", CLOSED, {SYN}, {Reply::rst_ack, {}, 0, {D::tcp_no_connection}}},
  {"SynWithDataIsResetWithAckOfAll", CLOSED, {SYN, 0, 0, 20}, {Reply::rst_ack, {}, 0, {D::tcp_no_connection}}},
  {"FinWithoutAckIsResetWithAckOfAll", CLOSED, {FIN, 0, 0, 20}, {Reply::rst_ack, {}, 0, {D::tcp_no_connection, D::tcp_bad_flags}}},

  // --- 3.10.7.2 LISTEN
  {"RstIsIgnored", LISTEN, {RST}, {Reply::none, {}, 0, {D::tcp_listen_bad_segment, D::tcp_no_connection}}},
  {"AckIsReset", LISTEN, {ACK, 0, 777}, {Reply::rst, {}, 0, {D::tcp_no_connection, D::tcp_listen_bad_segment}}},
  {"SynAckIsReset", LISTEN, {SYN | ACK, 0, 777}, {Reply::rst, {}, 0, {D::tcp_no_connection, D::tcp_listen_bad_segment}}},
  {"FinAckIsReset", LISTEN, {FIN | ACK, 0, 777}, {Reply::rst, {}, 0, {D::tcp_no_connection, D::tcp_listen_bad_segment}}},
  {"DataWithoutSynOrAckIsDropped", LISTEN, {0, 0, 0, 10}, {Reply::none, {}, 0, {D::tcp_listen_bad_segment, D::tcp_bad_flags}}},
  {"FinWithoutAckIsDropped", LISTEN, {FIN}, {Reply::none, {}, 0, {D::tcp_listen_bad_segment, D::tcp_bad_flags}}},
  {"SynIsAnswered", LISTEN, {SYN}, {Reply::syn_ack, S::syn_received, 1, {D::none}}},
  {"SynRstIsIgnored", LISTEN, {SYN | RST}, {Reply::none, {}, 0, {}}},

  // --- 3.10.7.3 SYN-SENT
  {"SynAckOpens", SYN_SENT, {SYN | ACK}, {Reply::ack, S::established, 1, {D::none}}},
  {"SynAckOfIssIsReset", SYN_SENT, {SYN | ACK, 0, -1}, {Reply::rst, {}, 0, {D::tcp_unacceptable_ack}}},
  {"SynAckOfUnsentIsReset", SYN_SENT, {SYN | ACK, 0, 1}, {Reply::rst, {}, 0, {D::tcp_unacceptable_ack}}},
  {"AckOfUnsentIsReset", SYN_SENT, {ACK, 0, 100}, {Reply::rst, {}, 0, {D::tcp_unacceptable_ack}}},
  {"RstWithBadAckIsDropped", SYN_SENT, {RST | ACK, 0, 1}, {Reply::none, {}, 0, {D::tcp_unacceptable_ack}}},
  {"RstWithoutAckIsDropped", SYN_SENT, {RST}, {Reply::none, {}, 0, {}}},
  {"RstAckRefuses", SYN_SENT, {RST | ACK}, {Reply::none, S::closed, 0, {D::tcp_rst_accepted}, C::refused}},
  {"GoodAckAloneIsDropped", SYN_SENT, {ACK}, {Reply::none, {}, 0, {}}},
  {"FinIsDropped", SYN_SENT, {FIN | ACK}, {Reply::none, {}, 0, {}}},
  {"DataWithoutSynIsDropped", SYN_SENT, {ACK, 1, 0, 10}, {Reply::none, {}, 0, {}}},
  {"Must10SimultaneousSynIsAnswered", SYN_SENT, {SYN}, {Reply::syn_ack, S::syn_received, 1, {D::none}}},

  // --- 3.10.7.4 SYN-RECEIVED
  {"AckEstablishes", syn_received, {ACK}, {Reply::none, S::established, 0, {D::none}}},
  {"DataWithAckEstablishesAndIsDelivered", syn_received, {ACK, 0, 0, 10}, {Reply::ack, S::established, 10, {D::none}}},
  {"FinWithAckGoesToCloseWait", syn_received, {FIN | ACK}, {Reply::ack, S::close_wait, 1, {D::none}}},
  {"AckOfIssIsReset", syn_received, {ACK, 0, -1}, {Reply::rst, {}, 0, {D::tcp_unacceptable_ack}}},
  {"AckOfUnsentIsReset", syn_received, {ACK, 0, 1}, {Reply::rst, {}, 0, {D::tcp_unacceptable_ack}}},
  {"NoAckIsDropped", syn_received, {0, 0, 0, 10}, {Reply::none, {}, 0, {D::tcp_no_ack_flag, D::tcp_bad_flags}}},
  {"RstReturnsToListen", SYN_RCVD, {RST}, {Reply::none, S::closed, 0, {D::tcp_rst_accepted}}},
  {"Must11RstRefusesActiveOpen", SYN_RCVD_ACTIVE, {RST}, {Reply::none, S::closed, 0, {D::tcp_rst_accepted}, C::refused}},
  {"RstInWindowIsChallenged", syn_received, {RST, 1}, {Reply::ack, {}, 0, {D::tcp_rst_challenged}}},
  {"RstOutsideIsDropped", syn_received, {RST, window}, {Reply::none, {}, 0, {D::tcp_out_of_window}}},
  {"RstBelowIsDropped", syn_received, {RST, -1}, {Reply::none, {}, 0, {D::tcp_out_of_window}}},
  {"SynInWindowReturnsToListen", SYN_RCVD, {SYN, 1}, {Reply::any, S::closed, 0, {}}},
  {"SynInWindowIsChallenged", SYN_RCVD_ACTIVE, {SYN, 1}, {Reply::ack, {}, 0, {D::tcp_syn_challenged}}},
  {"DataOutsideIsAcked", syn_received, {ACK, window, 0, 10}, {Reply::ack, {}, 0, {D::tcp_out_of_window}}},

  // --- 3.10.7.4 first: the sequence number
  {"DataBeyondWindowIsAcked", synchronized, {ACK, window, 0, 10}, {Reply::ack, {}, 0, {D::tcp_out_of_window}}},
  {"FarFutureDataIsAcked", synchronized, {ACK, 1'000'000'000, 0, 10}, {Reply::ack, {}, 0, {D::tcp_out_of_window}}},
  {"OldDataIsAcked", synchronized, {ACK, -10, 0, 10}, {Reply::ack, {}, 0, {D::tcp_out_of_window, D::tcp_duplicate_data}}},
  {"OldAckSegmentIsAcked", synchronized, {ACK, -1}, {Reply::ack, {}, 0, {D::tcp_out_of_window}}},
  {"RetransmittedFinIsAcked", fin_received, {FIN | ACK, -1}, {Reply::ack, {}, 0, {D::tcp_out_of_window, D::tcp_duplicate_data}}},
  {"RetransmittedFinIsAcked", TIME_WAIT, {FIN | ACK, -1}, {Reply::ack, {}, 0, {D::tcp_time_wait}}},

  // --- second: RST, RFC 5961 3
  {"RstAtRcvNxtCloses", receiving | CLOSE_WAIT, {RST}, {Reply::none, S::closed, 0, {D::tcp_rst_accepted}, C::reset_by_peer}},
  {"RstAtRcvNxtCloses", CLOSING | LAST_ACK, {RST}, {Reply::none, S::closed, 0, {D::tcp_rst_accepted}}},
  {"RstAckAtRcvNxtCloses", receiving | CLOSE_WAIT, {RST | ACK}, {Reply::none, S::closed, 0, {D::tcp_rst_accepted}, C::reset_by_peer}},
  {"RstWithBadAckAtRcvNxtCloses", receiving, {RST | ACK, 0, 5000}, {Reply::none, S::closed, 0, {D::tcp_rst_accepted}, C::reset_by_peer}},
  {"Shld2RstWithDataCloses", receiving, {RST | ACK, 0, 0, 30}, {Reply::none, S::closed, 0, {D::tcp_rst_accepted}, C::reset_by_peer}},
  {"RstInWindowIsChallenged", synchronized, {RST, 1}, {Reply::ack, {}, 0, {D::tcp_rst_challenged}}},
  {"RstAtLastOctetOfWindowIsChallenged", ESTAB, {RST, window - 1}, {Reply::ack, {}, 0, {D::tcp_rst_challenged}}},
  {"RstAboveWindowIsDropped", synchronized, {RST, window}, {Reply::none, {}, 0, {D::tcp_out_of_window}}},
  {"RstBelowRcvNxtIsDropped", synchronized, {RST, -1}, {Reply::none, {}, 0, {D::tcp_out_of_window}}},
  {"RstOutsideNeverReplies", TIME_WAIT, {RST, window}, {Reply::none, {}, 0, {}}},

  // --- fourth: SYN, RFC 5961 4
  {"SynInWindowIsChallenged", synchronized, {SYN, 1}, {Reply::ack, {}, 0, {D::tcp_syn_challenged}}},
  {"SynAtRcvNxtIsChallenged", synchronized, {SYN}, {Reply::ack, {}, 0, {D::tcp_syn_challenged}}},
  {"SynAckInWindowIsChallenged", synchronized, {SYN | ACK, 1}, {Reply::ack, {}, 0, {D::tcp_syn_challenged}}},
  {"SynOutsideWindowIsAcked", synchronized, {SYN, window + 10}, {Reply::ack, {}, 0, {D::tcp_syn_challenged, D::tcp_out_of_window}}},
  {"OldSynIsAcked", synchronized, {SYN, -1}, {Reply::ack, {}, 0, {D::tcp_syn_challenged, D::tcp_out_of_window, D::tcp_duplicate_data}}},

  // --- fifth: ACK
  {"NoAckIsDropped", synchronized, {0, 0, 0, 10}, {Reply::none, {}, 0, {D::tcp_no_ack_flag, D::tcp_bad_flags}}},
  {"FinWithoutAckIsDropped", synchronized, {FIN}, {Reply::none, {}, 0, {D::tcp_no_ack_flag, D::tcp_bad_flags}}},
  {"PlainAckIsQuiet", ESTAB | FIN_WAIT_2 | CLOSE_WAIT, {ACK}, {Reply::none, {}, 0, {D::none}}},
  {"AckOfFinMovesOn", FIN_WAIT_1, {ACK}, {Reply::none, S::fin_wait_2, 0, {D::none}}},
  {"AckOfFinMovesOn", CLOSING, {ACK}, {Reply::none, S::time_wait, 0, {D::none}, C::normal}},
  {"AckOfFinMovesOn", LAST_ACK, {ACK}, {Reply::none, S::closed, 0, {D::none}, C::normal}},
  {"AckWithoutFinStays", FIN_WAIT_1 | CLOSING | LAST_ACK, {ACK, 0, -1}, {Reply::none, {}, 0, {}}},
  {"AckOfUnsentIsAcked", ESTAB | FIN_WAIT_1 | FIN_WAIT_2 | CLOSE_WAIT | CLOSING, {ACK, 0, 1}, {Reply::ack, {}, 0, {D::tcp_ack_of_unsent}}},
  {"DataWithAckOfUnsentIsNotDelivered", receiving, {ACK, 0, 1, 10}, {Reply::ack, {}, 0, {D::tcp_ack_of_unsent}}},
  {"OldAckIsQuiet", ESTAB | FIN_WAIT_2 | CLOSE_WAIT, {ACK, 0, -1}, {Reply::none, {}, 0, {}}},
  {"DataWithOldAckIsDelivered", ESTAB | FIN_WAIT_2, {ACK, 0, -1, 10}, {Reply::ack, {}, 10, {D::none}}},
  {"May12AckBelowWindowIsChallenged", synchronized, {ACK, 0, -100'000, 10}, {Reply::ack, {}, 0, {D::tcp_ack_too_old}}},

  // --- seventh: the text
  {"DataIsDeliveredAndAcked", ESTAB | FIN_WAIT_2, {ACK, 0, 0, 100}, {Reply::ack, {}, 100, {D::none}}},
  {"DataIsDeliveredAndAcked", FIN_WAIT_1, {ACK, 0, -1, 100}, {Reply::ack, {}, 100, {D::none}}},
  {"DataWithAckOfFinIsDelivered", FIN_WAIT_1, {ACK, 0, 0, 100}, {Reply::ack, S::fin_wait_2, 100, {D::none}}},
  {"OverlappingDataIsTrimmed", ESTAB | FIN_WAIT_2, {ACK, -5, 0, 15}, {Reply::ack, {}, 10, {D::none}}},
  {"Shld31OutOfOrderDataIsQueuedAndDupAcked", ESTAB | FIN_WAIT_2, {ACK, 10, 0, 10}, {Reply::ack, {}, 0, {D::none}}},
  {"Shld31OutOfOrderDataIsQueuedAndDupAcked", FIN_WAIT_1, {ACK, 10, -1, 10}, {Reply::ack, {}, 0, {D::none}}},
  {"DataAfterFinIsIgnored", CLOSE_WAIT, {ACK, 0, 0, 10}, {Reply::any, {}, 0, {D::tcp_data_after_fin}}},
  {"DataAfterFinIsIgnored", CLOSING | LAST_ACK, {ACK, 0, -1, 10}, {Reply::any, {}, 0, {D::tcp_data_after_fin}}},

  // --- eighth: FIN
  {"FinIsAcked", ESTAB, {FIN | ACK}, {Reply::ack, S::close_wait, 1, {D::none}}},
  {"FinWithDataIsAcked", ESTAB, {FIN | ACK, 0, 0, 10}, {Reply::ack, S::close_wait, 11, {D::none}}},
  {"SimultaneousFinGoesToClosing", FIN_WAIT_1, {FIN | ACK, 0, -1}, {Reply::ack, S::closing, 1, {D::none}}},
  {"FinWithAckOfOursGoesToTimeWait", FIN_WAIT_1, {FIN | ACK}, {Reply::ack, S::time_wait, 1, {D::none}, C::normal}},
  {"FinGoesToTimeWait", FIN_WAIT_2, {FIN | ACK}, {Reply::ack, S::time_wait, 1, {D::none}, C::normal}},
  {"FinWithDataGoesToTimeWait", FIN_WAIT_2, {FIN | ACK, 0, 0, 10}, {Reply::ack, S::time_wait, 11, {D::none}, C::normal}},
  {"FinOutOfOrderWaits", ESTAB | FIN_WAIT_2, {FIN | ACK, 10}, {Reply::ack, {}, 0, {}}},
  {"FinOutOfOrderWaits", FIN_WAIT_1, {FIN | ACK, 10, -1}, {Reply::ack, {}, 0, {}}},
  {"FinWithDataOutOfOrderWaits", ESTAB | FIN_WAIT_2, {FIN | ACK, 10, 0, 10}, {Reply::ack, {}, 0, {}}},
  {"FinAboveWindowIsAcked", receiving, {FIN | ACK, window + 1}, {Reply::ack, {}, 0, {D::tcp_out_of_window}}},

  // --- TIME-WAIT: whatever is not a new SYN or a RST is at most acknowledged
  {"AckOutsideIsAckedAtMost", TIME_WAIT, {ACK, 5000}, {Reply::any, {}, 0, {D::tcp_time_wait}}},
  {"DataIsIgnored", TIME_WAIT, {ACK, 0, 0, 10}, {Reply::any, {}, 0, {D::tcp_time_wait}}},
  {"OldSynIsNotAccepted", TIME_WAIT, {SYN, -100}, {Reply::ack, {}, 0, {D::tcp_time_wait}}},
};
// clang-format on

struct Case {
  const Row* row;
  StateBit state;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Row& row : rows)
    for (int bit = 0; bit < state_bits; ++bit)
      if ((row.states & (1 << bit)) != 0) cases.push_back({&row, static_cast<StateBit>(1 << bit)});
  return cases;
}

class StateTable : public ::testing::TestWithParam<Case> {};

void check_reply(Conversation& c, const Row& row, const Numbers& at,
                 const std::vector<TestPeer::Arrival>& replies) {
  const Out& out = row.out;
  if (out.reply == Reply::any) return;
  if (out.reply == Reply::none) {
    EXPECT_TRUE(replies.empty()) << "replied: " << describe(replies.front().frame);
    return;
  }
  ASSERT_EQ(replies.size(), 1u) << "replies";
  const Decoded& got = replies[0].segment;
  const auto seq = static_cast<std::int32_t>(got.seq - c.peer.stack_isn());
  const auto ack = static_cast<std::int32_t>(got.ack - c.peer.isn());
  const std::int64_t in_length = row.in.len + ((row.in.flags & SYN) ? 1 : 0) + ((row.in.flags & FIN) ? 1 : 0);
  std::uint8_t flags = ACK;
  std::int64_t want_seq = at.snd_nxt;
  std::int64_t want_ack = at.rcv_nxt + out.accepts;
  if (out.reply == Reply::syn_ack) flags = SYN | ACK, want_seq = 0;
  if (out.reply == Reply::rst) flags = RST, want_seq = at.snd_nxt + row.in.ack;
  if (out.reply == Reply::rst_ack)
    flags = RST | ACK, want_seq = 0, want_ack = at.rcv_nxt + row.in.seq + in_length;
  EXPECT_EQ(flags_text(got.flags), flags_text(flags));
  EXPECT_EQ(seq, want_seq) << "SEQ of the reply";
  if ((flags & ACK) != 0) {
    EXPECT_EQ(ack, want_ack) << "ACK of the reply";
  }
  EXPECT_TRUE(got.payload.empty());
}

std::vector<DropReason> new_drops(const Counters& before, const Counters& after) {
  std::vector<DropReason> drops;
  for (std::size_t i = 0; i < drop_reason_count; ++i) {
    const auto reason = static_cast<DropReason>(i);
    for (std::uint64_t n = before[reason]; n < after[reason]; ++n) drops.push_back(reason);
  }
  return drops;
}

TEST_P(StateTable, Rfc9293_3_10_7) {
  const auto [row, state] = GetParam();
  Conversation c;
  const Numbers at = drive_to(c, state);
  c.peer.expects_nothing();
  const TcpState before = c.state();
  const Counters counters = c.host.counters();
  const std::size_t received = c.app.received.size();
  const std::size_t closes = c.app.closed.size();

  c.peer.sends(row->in.flags,
               {.seq = at.rcv_nxt + row->in.seq, .ack = at.snd_nxt + row->in.ack, .len = row->in.len});

  const Out& out = row->out;
  check_reply(c, *row, at, c.peer.take());
  EXPECT_STREQ(tcp_state_name(c.state()), tcp_state_name(out.after.value_or(before)));
  const auto drops = new_drops(counters, c.host.counters());
  EXPECT_LE(drops.size(), 1u) << "a segment is dropped for one reason";
  const DropReason drop = drops.empty() ? DropReason::none : drops[0];
  if (!out.reasons.empty()) {
    EXPECT_NE(std::find(out.reasons.begin(), out.reasons.end(), drop), out.reasons.end())
        << "reason " << drop_reason_name(drop);
  }
  const std::int64_t phantom =
      ((row->in.flags & SYN) ? 1 : 0) + ((row->in.flags & FIN) && out.accepts > 0 ? 1 : 0);
  const std::int64_t delivered = std::max<std::int64_t>(out.accepts - phantom, 0);
  EXPECT_EQ(static_cast<std::int64_t>(c.app.received.size() - received), delivered) << "octets delivered";
  if (out.closed) {
    ASSERT_EQ(c.app.closed.size(), closes + 1) << "on_closed";
    EXPECT_STREQ(close_reason_name(c.app.closed.back()), close_reason_name(*out.closed));
  }
}

std::string case_name(const ::testing::TestParamInfo<Case>& test) {
  return std::string(state_bit_name(test.param.state)) + "_" + test.param.row->name;
}

INSTANTIATE_TEST_SUITE_P(Rfc9293, StateTable, ::testing::ValuesIn(all_cases()), case_name);

}  // namespace
}  // namespace pollux::test
