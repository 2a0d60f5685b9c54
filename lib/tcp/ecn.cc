// Explicit congestion notification (RFC 3168): the handshake, marks that arrive, marks that the peer echoes; and what DCTCP
// (RFC 8257) does otherwise.
#include <algorithm>

#include "pollux/tcp/tcp.h"

namespace pollux {

// RFC 3168 6.1.1: an ECN-setup SYN. One whose packet claims ECN capability already was sent by a broken host or changed on
// its way: then nothing that the path says about congestion can be relied on. DCTCP's peers do send such SYNs (RFC 8257 3.6).
bool Tcp::asks_for_ecn(const TcpConnOptions& options, const Segment& syn) noexcept {
  const bool capable_too_soon = syn.ecn != EcnCodepoint::not_ect && options.congestion != TcpCongestion::dctcp;
  return syn.flags.has_all(TcpFlags::ece | TcpFlags::cwr) && !capable_too_soon;
}

// RFC 3168 6.1.1: who has sent a SYN that does not ask MUST NOT send ECN-capable packets. Marks on what the peer sends are still
// echoed if it has agreed: it may know only of the first SYN.
static bool has_fallen_back(const Tcb& tcb) noexcept {
  return tcb.is.active_open && (tcb.rtt.syn_was_lost() || (!tcb.synchronized() && tcb.retries != 0));
}

// The ECN bits that all of a connection's packets have. RFC 8257 3.6: queues that mark early drop what they cannot mark, so with
// DCTCP all are ECN-capable, as with Linux: SYNs, pure ACKs and retransmissions.
void Tcp::set_ecn_octet(Tcb& tcb) noexcept {
  const bool all = tcb.is.ecn && tcb.options->congestion == TcpCongestion::dctcp && !has_fallen_back(tcb);
  tcb.tos = static_cast<std::uint8_t>((tcb.tos & TcpConnOptions::diffserv_mask) |
                                      static_cast<std::uint8_t>(all ? EcnCodepoint::ect_0 : EcnCodepoint::not_ect));
}

// RFC 3168 6.1.1: an ECN-setup SYN-ACK. One with both flags reflects our SYN's, as hosts do that know nothing of them.
bool Tcp::agrees_to_ecn(const Segment& syn_ack) noexcept {
  return syn_ack.flags.has(TcpFlags::ece) && !syn_ack.flags.has(TcpFlags::cwr);
}

// Our SYN or SYN-ACK.
void Tcp::offer_ecn(Tcb& tcb, TcpFields& fields) noexcept {
  if (fields.flags.has(TcpFlags::ack)) {
    fields.flags.bits |= TcpFlags::ece;
  } else if (tcb.retries == 0) {
    fields.flags.bits |= TcpFlags::ece | TcpFlags::cwr;
  } else {
    // RFC 3168 6.1.1.1: something on the path may drop SYNs that ask.
    set_ecn_octet(tcb);
    if (tcb.retries == 1) counters_.add(Counter::tcp_ecn_fallbacks);
  }
}

// The Diffserv octet of data that is sent for the first time (RFC 3168 6.1.2, 6.1.5), and of more with ECN++.
std::uint8_t Tcp::data_tos(const Tcb& tcb) noexcept {
  return tcb.is.ecn && !has_fallen_back(tcb) ? capable(tcb.tos) : tcb.tos;
}

// Sends a segment with data that was never sent before; with ECN++ a FIN or a retransmission too. Without it a probe of a closed
// window is not ECN-capable (RFC 3168 6.1.6).
Tcp::Output Tcp::transmit_capable(Tcb& tcb, Packet packet, TcpFields& fields, bool first_data) noexcept {
  if (tcb.snd.wnd == 0 && !tcb.options->ecn_plus_plus) return transmit(tcb, std::move(packet), fields);
  if (first_data && tcb.snd.wnd != 0) {  // RFC 3168 6.1.2: CWR goes with new data, and not with a probe
    if (tcb.is.cwr_due) fields.flags.bits |= TcpFlags::cwr;
    tcb.is.cwr_due = false;
  }
  const std::uint8_t tos = tcb.tos;
  tcb.tos = data_tos(tcb);
  const Output result = transmit(tcb, std::move(packet), fields);
  tcb.tos = tos;
  return result;
}

// RFC 3168 6.1.3, of acceptable data: the mark is echoed until the sender says that it has reacted. Either is acknowledged at
// once: the sender's window may be so small that it waits for nothing else.
void Tcp::take_congestion_mark(Tcb& tcb, const Segment& seg) noexcept {
  if (seg.ecn == EcnCodepoint::ce) counters_.add(Counter::tcp_ce_in);
  if (tcb.is.dctcp) {
    take_dctcp_mark(tcb, seg.ecn == EcnCodepoint::ce);
    return;
  }
  const bool echoed = tcb.is.ece_due;
  if (seg.flags.has(TcpFlags::cwr)) tcb.is.ece_due = false;
  if (seg.ecn == EcnCodepoint::ce) tcb.is.ece_due = true;
  if (tcb.is.ece_due == echoed && !seg.flags.has(TcpFlags::cwr)) return;
  tcb.is.ack_now = true;
  mark_dirty(tcb);
}

// The ACK of our SYN-ACK says that it was marked, which ECN++ lets happen: the queue it passed is full already. RFC 5562 3.2:
// then the first window is one segment.
void Tcp::take_handshake_mark(Tcb& tcb) noexcept {
  counters_.add(Counter::tcp_ecn_reductions);
  note(tcb, FlightEvent::marked);
  tcb.first_cwnd = tcb.mss;
  if (Disturbance* const own = disturbance_of(tcb)) own->cc.set_cwnd(tcb.mss);
  tcb.is.cwr_due = true;
}

// RFC 8257 3.2: ECE tells of each segment whether it was marked. An ACK covers only segments that are alike: what came before
// the change is acknowledged by itself, at once.
void Tcp::take_dctcp_mark(Tcb& tcb, bool marked) noexcept {
  if (marked == tcb.is.ece_due) return;
  OwedAcks& owed = extras_of(tcb).owed_acks;
  const bool waits = tcb.rcv.unacked != 0 && (owed.count == 0 || owed.ack[owed.count - 1u] != tcb.rcv.nxt);
  if (waits && owed.count < OwedAcks::max) {
    if (tcb.is.ece_due) owed.echoes = static_cast<std::uint8_t>(owed.echoes | 1u << owed.count);
    owed.ack[owed.count++] = tcb.rcv.nxt;
  }
  tcb.is.ece_due = marked;
  tcb.is.ack_now = true;
  mark_dirty(tcb);
}

// RFC 3168 6.1.2: an echoed mark asks for what a loss asks for, once a window.
void Tcp::enter_cwr(Tcb& tcb, const AckEvent& event) noexcept {
  LossRecovery& loss = disturb(tcb).loss;
  counters_.add(Counter::tcp_ecn_reductions);
  note(tcb, FlightEvent::marked);
  loss.may_undo = loss.probe_sent = false;
  loss.in_cwr = true;
  loss.cwr_end = tcb.snd.max;
  reduce_window(tcb, event);
}

}  // namespace pollux
