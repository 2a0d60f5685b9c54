#include "state_driver.h"

namespace pollux::test {

const char* state_bit_name(StateBit state) {
  switch (state) {
    case CLOSED:
      return "CLOSED";
    case LISTEN:
      return "LISTEN";
    case SYN_SENT:
      return "SYN_SENT";
    case SYN_RCVD:
      return "SYN_RECEIVED";
    case SYN_RCVD_ACTIVE:
      return "SYN_RECEIVED_ACTIVE";
    case ESTAB:
      return "ESTABLISHED";
    case FIN_WAIT_1:
      return "FIN_WAIT_1";
    case FIN_WAIT_2:
      return "FIN_WAIT_2";
    case CLOSE_WAIT:
      return "CLOSE_WAIT";
    case CLOSING:
      return "CLOSING";
    case LAST_ACK:
      return "LAST_ACK";
    case TIME_WAIT:
      return "TIME_WAIT";
  }
  return "?";
}

namespace {

Numbers drive_before_established(Conversation& c, StateBit state, const Seg& syn) {
  TestPeer& peer = c.peer;
  if (state == CLOSED) return {};
  if (state == LISTEN) {
    c.listens();
    return {};
  }
  if (state == SYN_RCVD) {
    c.listens();
    peer.sends(SYN, syn);
    peer.expects(SYN | ACK, {.seq = 0, .ack = 1});
    return {.rcv_nxt = 1, .snd_nxt = 1};
  }
  c.connects();
  peer.expects(SYN, {.seq = 0});
  if (state == SYN_SENT) return {.rcv_nxt = 0, .snd_nxt = 1};
  peer.sends(SYN, syn);
  peer.expects(SYN | ACK, {.seq = 0, .ack = 1});
  return {.rcv_nxt = 1, .snd_nxt = 1};
}

void our_fin(Conversation& c) {
  c.app.conn.shutdown_send();
  c.runs();
  c.peer.expects(FIN | ACK);
}

}  // namespace

Numbers drive_to(Conversation& c, StateBit state, const Seg& syn) {
  if (state < ESTAB) return drive_before_established(c, state, syn);
  TestPeer& peer = c.peer;
  c.established(syn);
  switch (state) {
    case FIN_WAIT_1:
      our_fin(c);
      return {.rcv_nxt = 1, .snd_nxt = 2};
    case FIN_WAIT_2:
      our_fin(c);
      peer.sends(ACK, {.ack = 2});
      return {.rcv_nxt = 1, .snd_nxt = 2};
    case CLOSE_WAIT:
      peer.sends(FIN | ACK);
      peer.expects(ACK, {.ack = 2});
      return {.rcv_nxt = 2, .snd_nxt = 1};
    case CLOSING:
      our_fin(c);
      peer.sends(FIN | ACK, {.ack = 1});
      peer.expects(ACK, {.ack = 2});
      return {.rcv_nxt = 2, .snd_nxt = 2};
    case LAST_ACK:
      peer.sends(FIN | ACK);
      peer.expects(ACK, {.ack = 2});
      our_fin(c);
      return {.rcv_nxt = 2, .snd_nxt = 2};
    case TIME_WAIT:
      our_fin(c);
      peer.sends(ACK, {.ack = 2});
      peer.sends(FIN | ACK, {.ack = 2});
      peer.expects(ACK, {.ack = 2});
      return {.rcv_nxt = 2, .snd_nxt = 2};
    default:
      return {.rcv_nxt = 1, .snd_nxt = 1};
  }
}

}  // namespace pollux::test
