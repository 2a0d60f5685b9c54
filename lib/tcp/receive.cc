// Delivery to the application, data that arrives out of order, and the window we advertise.
#include <algorithm>

#include "pollux/tcp/tcp.h"

namespace pollux {

// How long the peer's full segments are (RFC 5681 4.2), as far as we can tell: the longest so far.
void Tcp::note_segment_size(Tcb& tcb, const Segment& seg) noexcept {
  const std::uint32_t each = seg.merged == 1 ? seg.length : (seg.length + seg.merged - 1) / seg.merged;
  if (each > tcb.recv_mss) tcb.recv_mss = static_cast<std::uint16_t>(std::min(each, std::max<std::uint32_t>(tcb.recv_mss, tcb.advertised_mss)));
}

void Tcp::deliver(Tcb& tcb, Packet payload) noexcept {
  const std::uint32_t length = payload.size();
  tcb.rcv.nxt += length;
  tcb.rcv.kept += length;
  tcb.rcv.unacked += length;
  tcb.is.ack_pending = true;
  // RFC 5681 4.2, RFC 9293 SHLD-19: an ACK at least for every second full-sized segment.
  if (tcb.rcv.unacked >= 2u * tcb.recv_mss || !tcb.options->delayed_ack) tcb.is.ack_now = true;
  counters_.add(Counter::tcp_in_bytes, length);
  mark_dirty(tcb);
  ledger_.mbufs += payload.segment_count();
  if (ledger_.mbufs > kept_max_) [[unlikely]] payload = compacted(std::move(payload));
  const TcpConn conn = handle_of(tcb);
  tcb.handler->on_data(conn, Bytes(std::move(payload), &ledger_, conn.handle()));
}

// The applications of this core keep more than their share, and this may be kept too. An mbuf for a few octets each is what
// would empty the pool while every window is still open.
[[gnu::cold, gnu::noinline]] Packet Tcp::compacted(Packet payload) noexcept {
  constexpr std::uint32_t small = 4;  // fills less than a fourth of its mbufs
  const std::uint32_t mbufs = payload.segment_count();
  if (clones_low_ || payload.size() > mbufs * pool_.room() / small) return payload;
  Packet copy = compactor_.copy_of(pool_, payload);
  if (!copy) return payload;
  counters_.add(Counter::tcp_kept_copied);
  ledger_.mbufs += copy.segment_count() - mbufs;
  return copy;
}

// Windows that were promised while there was room may together exceed the pool. Then data in order is dropped too (the
// peer sends it again), before ACKs find no mbuf to arrive in: only they give mbufs back.
bool Tcp::must_refuse_text(const Tcb& tcb) const noexcept {
  if (!pool_low_) [[likely]] return false;
  // Copying helps no more: who keeps something gets nothing, so that the rest of the pool serves those that do not.
  if (clones_low_ && ledger_.mbufs > kept_max_ && tcb.rcv.kept != 0) return true;
  return pool_starved_ || tcb.rcv.kept + tcb.queue.size() > 2u * tcb.advertised_mss;
}

DropReason Tcp::queue_out_of_order(Tcb& tcb, Segment& seg) noexcept {
  // RFC 5681 4.2: a duplicate ACK for each, so that the sender can count three.
  constexpr std::uint8_t dup_acks_max = 32;
  tcb.dup_acks_due = static_cast<std::uint8_t>(std::min<std::uint32_t>(tcb.dup_acks_due + seg.merged, dup_acks_max));
  mark_dirty(tcb);
  if (pool_low_) return DropReason::tcp_queue_limit;
  bool overlapped = false;
  const auto result = disturb(tcb).out_of_order.insert(out_of_order_, std::move(seg.payload), seg.seq,
                                              options_.out_of_order_segments_max, overlapped);
  if (overlapped) counters_.add(Counter::tcp_ofo_merge);
  if (result == OutOfOrderQueue::Insert::refused) return DropReason::tcp_queue_limit;
  if (result == OutOfOrderQueue::Insert::duplicate) {
    note_duplicate(tcb, seg);
    return DropReason::tcp_duplicate_data;
  }
  counters_.add(Counter::tcp_ofo_queue);
  return DropReason::none;
}

// RFC 2883: the next ACK says what arrived twice.
void Tcp::note_duplicate(Tcb& tcb, const Segment& seg) noexcept {
  if (!tcb.is.sack || seg.length == 0) return;
  tcb.is.dsack_due = true;
  disturb(tcb).dsack = {seg.seq, seg.seq + seg.length};
}

std::uint32_t Tcp::free_receive_space(const Tcb& tcb) const noexcept {
  const std::uint32_t buffer = tcb.options->receive_buffer;
  // What an echo has sent back beyond its send buffer is still held for the peer (see TcpConn::send).
  const std::uint32_t used = tcb.rcv.kept + overdraft(tcb);
  const std::uint32_t space = used < buffer ? buffer - used : 0;
  // Short of mbufs, no connection is promised more than it needs to go on.
  return pool_low_ ? std::min(space, 2u * tcb.advertised_mss) : space;
}

// Dynamic right-sizing: the buffer holds two round trips' worth of what arrives, so that a sender whose window doubles is
// not held back by ours. Looked at when a pure ACK leaves: who answers by data needs no large window.
void Tcp::tune_receive_buffer(Tcb& tcb) noexcept {
  const TcpConnOptions& options = *tcb.options;
  const std::uint32_t elapsed_ms = now_ms() - tcb.round.since_ms;
  const Duration round_trip = tcb.rtt.srtt();
  if (elapsed_ms == 0 || Duration::from_ms(elapsed_ms) < round_trip || !tcb.rtt.has_sample()) return;
  const std::uint32_t arrived = tcb.rcv.nxt.value() - tcb.round.start;
  tcb.round = {tcb.rcv.nxt.value(), now_ms()};
  const auto in_a_round = static_cast<std::uint64_t>(arrived) * static_cast<std::uint64_t>(round_trip.us()) / (elapsed_ms * 1000ull);
  // An application that lets data lie needs no more of it, and a core short of mbufs has none to give.
  if (in_a_round < options.receive_buffer / 2 || tcb.rcv.kept > options.receive_buffer / 2 || pool_low_) return;
  const std::uint32_t largest = std::min(options.receive_buffer_max, 0xffffu << tcb.recv_scale);
  if (largest <= options.receive_buffer) return;
  own_options(tcb).receive_buffer = std::min(largest, options.receive_buffer * 2);
}

// RFC 9293 3.8.6.2.2: the right edge moves in steps of a segment or half the buffer, and never left.
std::uint16_t Tcp::advertise(Tcb& tcb) noexcept {
  RecvSpace& rcv = tcb.rcv;
  const std::uint32_t current = rcv.window();
  const std::uint32_t space = std::min(free_receive_space(tcb), 0xffffu << tcb.recv_scale);
  const std::uint32_t step = std::min<std::uint32_t>(tcb.options->receive_buffer / 2, tcb.advertised_mss);
  std::uint32_t field;
  if (space >= current + step) {
    field = space >> tcb.recv_scale;
  } else {
    // Rounded up, lest the edge seem to move left by a fraction of the scale (RFC 7323 2.4).
    field = std::min(0xffffu, (current + (1u << tcb.recv_scale) - 1) >> tcb.recv_scale);
  }
  if (field == 0 && rcv.unacked != 0) counters_.add(Counter::tcp_zero_window_out);
  rcv.edge = seq_max(rcv.edge, rcv.nxt + (field << tcb.recv_scale));
  return static_cast<std::uint16_t>(field);
}

// Called when space came free: an update is worth a segment of its own once it opens the window noticeably.
void Tcp::consider_window_update(Tcb& tcb) noexcept {
  const bool receiving = tcb.state == TcpState::established || tcb.state == TcpState::fin_wait_1 ||
                         tcb.state == TcpState::fin_wait_2;
  if (tcb.is.ack_now || !receiving) return;
  // What the field can say: an update that repeats a window counts as a duplicate ACK with the peer.
  const std::uint32_t space = std::min(free_receive_space(tcb), 0xffffu << tcb.recv_scale);
  const std::uint32_t current = tcb.rcv.window();
  const std::uint32_t worth = std::min<std::uint32_t>(tcb.options->receive_buffer / 2, 2u * tcb.advertised_mss);
  if (space < current + worth) return;
  tcb.is.ack_now = true;
  mark_dirty(tcb);
}

}  // namespace pollux
