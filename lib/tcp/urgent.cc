// The urgent mechanism (RFC 9293 3.8.5, RFC 6093): a mark in the stream that each side can tell the other of ahead of the
// data. Its octets stay in their place.
#include <algorithm>

#include "pollux/tcp/tcp.h"

namespace pollux {

SendResult Tcp::send_urgent(SlabHandle handle, std::span<const std::uint8_t> bytes) noexcept {
  const SendResult result = send_copy(handle, bytes);
  if (result.accepted == 0) return result;
  Tcb& tcb = *find(handle);
  // RFC 9293 MUST-62: the mark is the octet behind the urgent data. Before the handshake is complete SND.UNA is our SYN.
  extras_of(tcb).send_urgent = tcb.snd.una + (tcb.synchronized() ? 0u : 1u) + tcb.queue.size();
  tcb.is.urgent_out = true;
  // MUST-66's other end: the peer hears of it even when no data may leave.
  if (tcb.synchronized()) tcb.is.ack_now = true;
  return result;
}

// Every segment that starts before the mark tells of it, as far as 16 bits reach (RFC 9293 MUST-31: any length).
void Tcp::stamp_urgent(Tcb& tcb, TcpFields& fields) noexcept {
  const SeqNum mark = extras_[tcb.extras].send_urgent;
  if (tcb.snd.una.after_eq(mark)) {
    tcb.is.urgent_out = false;
    return;
  }
  if (fields.sequence.after_eq(mark)) return;
  fields.flags.bits |= TcpFlags::urg;
  fields.urgent_pointer = static_cast<std::uint16_t>(std::min(static_cast<std::uint32_t>(mark - fields.sequence), 0xffffu));
}

// RFC 9293 3.10.7.4 sixth, and MUST-32. After the peer's FIN there is nothing to be urgent about.
void Tcp::take_urgent(Tcb& tcb, const Segment& seg) noexcept {
  if (tcb.state != TcpState::established && tcb.state != TcpState::fin_wait_1 && tcb.state != TcpState::fin_wait_2) return;
  if (tcb.is.app_closed) return;
  const SeqNum mark = seg.seq + seg.urgent_pointer;
  if (!mark.after(tcb.rcv.nxt)) return;  // delivered already
  ConnExtras& extras = extras_of(tcb);
  if (tcb.is.urgent_in && !mark.after(extras.recv_urgent)) return;
  extras.recv_urgent = mark;
  tcb.is.urgent_in = true;
  tcb.handler->on_urgent(handle_of(tcb));
}

// A delivery ends at the mark. False when there is no mbuf to cut it there; then nothing was delivered.
bool Tcp::deliver_up_to_mark(Tcb& tcb, Packet payload) noexcept {
  if (!tcb.is.urgent_in) [[likely]] {
    deliver(tcb, std::move(payload));
    return true;
  }
  const std::uint32_t distance = urgent_remaining(tcb);
  if (payload.size() > distance) {
    Packet front = pool_.split_front(payload, distance);
    if (!front) return false;
    tcb.is.urgent_in = false;
    deliver(tcb, std::move(front));
    // The application may have closed: what it does not want is not acknowledged.
    if (tcb.state == TcpState::closed || tcb.is.app_closed) return true;
  } else if (payload.size() == distance) {
    tcb.is.urgent_in = false;
  }
  deliver(tcb, std::move(payload));
  return true;
}

// RFC 9293 MUST-33
std::uint32_t Tcp::urgent_remaining(const Tcb& tcb) const noexcept {
  return tcb.is.urgent_in ? static_cast<std::uint32_t>(extras_[tcb.extras].recv_urgent - tcb.rcv.nxt) : 0;
}

}  // namespace pollux
