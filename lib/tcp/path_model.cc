// Connections whose controller has a model of the path (BBR): samples of the delivery rate for it, and what it says.
#include "pollux/tcp/tcp.h"

namespace pollux {

void Tcp::start_model(Tcb& tcb) noexcept {
  ConnExtras& extras = extras_of(tcb);
  extras.model = models_.emplace(tcb.mss, tcb.first_cwnd, tcb.rtt.srtt(), static_cast<std::uint32_t>(rng_.next()), now_);
  POLLUX_CHECK(extras.model != Slab<PathModel>::nil, "as many models as connections");
  Disturbance& own = disturb(tcb);
  own.cc = CongestionControl(BbrWindow(models_[extras.model].bbr));
  own.loss.by_model = true;
  set_pacing(tcb, true);
}

Tcp::Output Tcp::send_measured(Tcb& tcb, std::uint32_t length, bool fin) noexcept {
  const std::uint32_t before = tcb.in_flight();
  const Output result = send_new(tcb, length, fin);
  if (result != Output::done || !tcb.loss().by_model) return result;
  PathModel& model = model_of(tcb);
  // draft-ietf-ccwg-bbr 4.1.2.4: the queue had been empty while there was room in the network.
  if (model.drained && before < tcb.cwnd()) {
    if (before == 0) model.bbr.on_idle_restart(now_, model.rate.delivered());
    model.rate.mark_app_limited(before);
  }
  model.drained = static_cast<std::uint32_t>(tcb.snd.nxt - tcb.snd.una) >= tcb.queue.size();
  note_sent(tcb, tcb.board.last());
  return result;
}

void Tcp::note_sent(Tcb& tcb, std::uint32_t index) noexcept {
  PathModel& model = model_of(tcb);
  const std::uint32_t in_flight = tcb.in_flight();
  sent_rates_[index] = model.rate.on_sent(sent_[index].length(), in_flight, now_);
  if (in_flight + tcb.mss > tcb.cwnd()) model.limited = true;
}

// What was found lost since to_repair() was `before`.
void Tcp::note_losses(Tcb& tcb, std::uint32_t before) noexcept {
  const std::uint32_t now_lost = tcb.disorder().to_repair();
  if (now_lost <= before) return;
  PathModel& model = model_of(tcb);
  model.rate.on_lost(now_lost - before);
  const SentRate& newest = sent_rates_[newest_lost_];
  model.bbr.on_lost(newest, sent_[newest_lost_].length(), static_cast<std::uint32_t>(model.rate.lost() - newest.lost),
                    model.rate.delivered(), now_);
}

void Tcp::tell_model(Tcb& tcb, const AckEvent& event) noexcept {
  mark_dirty(tcb);
  const Delivery& delivery = event.delivery;
  if (delivery.octets == 0) return;
  PathModel& model = model_of(tcb);
  model.rate.on_delivered(delivery.octets, now_);
  RateSample rs;
  if (delivery.has_last) {
    model.rate.sample(sent_rates_[delivery.last_index], delivery.last_sent, tcb.rtt.min_rtt(), rs);
    if (!delivery.last_retransmitted) rs.rtt = now_ - delivery.last_sent;
    if (rs.prior_delivered >= model.round_delivered) {
      model.round_delivered = model.rate.delivered();
      model.was_limited = model.limited;
      model.limited = false;
    }
  }
  rs.newly_acked = delivery.octets;
  rs.in_flight = tcb.in_flight();
  rs.total_delivered = model.rate.delivered();
  rs.in_recovery = tcb.loss().mode == RecoveryMode::recovery;
  rs.window_limited = model.limited || model.was_limited;
  rs.now = now_;
  if (model.bbr.on_ack(rs)) model.rate.mark_app_limited(rs.in_flight);
}

void Tcp::fill_model(TcpInfo& info, const Tcb& tcb) const noexcept {
  const Bbr& bbr = model_of(tcb).bbr;
  info.delivery_rate = static_cast<std::uint64_t>(bbr.bandwidth());
  info.bbr_state = bbr.state();
}

}  // namespace pollux
