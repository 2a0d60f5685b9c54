#include "pollux/ip/reassembler.h"

#include <cstring>
#include <utility>

namespace pollux {
namespace {

std::uint64_t mixed(std::uint64_t h, const IpAddress& address) noexcept {
  std::uint64_t half[2];
  std::memcpy(half, address.octets().data(), sizeof half);
  h = (h ^ half[0]) * 0x9e3779b97f4a7c15u;
  h = ((h ^ h >> 32) + half[1]) * 0xff51afd7ed558ccdu;
  h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
  return h ^ h >> 33;
}

bool same_datagram(const FragmentInfo& a, const FragmentInfo& b) noexcept {
  return a.identification == b.identification && a.protocol == b.protocol && a.interface == b.interface &&
         a.source == b.source && a.destination == b.destination;
}

}  // namespace

Reassembler::Reassembler(const Limits& limits, std::uint32_t hash_seed, Counters& counters)
    : limits_(limits),
      hash_seed_(hash_seed),
      counters_(counters),
      index_(limits.datagrams_max),
      fragments_(limits.fragments_max),
      datagrams_(limits.datagrams_max) {}

Reassembler::~Reassembler() {
  while (!ages_.empty()) forget(ages_.front());
}

std::uint32_t Reassembler::hash(const FragmentInfo& info) const noexcept {
  const std::uint64_t name = std::uint64_t{info.identification} << 16 | std::uint64_t{info.protocol} << 8 | info.interface;
  const std::uint64_t h = mixed(mixed(hash_seed_ ^ name * 0x9e3779b97f4a7c15u, info.source), info.destination);
  return static_cast<std::uint32_t>(h);
}

std::uint8_t Reassembler::bucket_of(const IpAddress& source) const noexcept {
  return static_cast<std::uint8_t>(mixed(hash_seed_, source));
}

Reassembler::Added Reassembler::add(const FragmentInfo& info, Packet packet, TimePoint now) noexcept {
  POLLUX_DCHECK(packet.size() != 0);
  Added added;
  Datagram& datagram = *find_or_make(info, now);
  const std::uint32_t end = info.offset + packet.size();
  std::uint32_t before = nil;
  added.reason = datagram.condemned ? DropReason::ip_fragment_overlap : check(datagram, info, end, before);
  if (added.reason == DropReason::none) added.reason = make_room(datagram);
  switch (added.reason) {
    case DropReason::none:
      break;
    case DropReason::ip_fragment_overlap:
    case DropReason::ip_fragment_limit:
      if (!datagram.condemned) {
        count_failure(datagram);
        drop_fragments(datagram, added.reason);
        datagram.condemned = true;
      }
      return added;
    default:
      return added;
  }
  insert(datagram, info, std::move(packet), before);
  if (datagram.received == datagram.length) take_whole(datagram, added);
  return added;
}

Reassembler::Datagram* Reassembler::find_or_make(const FragmentInfo& info, TimePoint now) noexcept {
  const std::uint32_t h = hash(info);
  const std::uint32_t found =
      index_.find(h, [&](std::uint32_t i) { return same_datagram(datagrams_[i].info, info); });
  if (found != HashIndex::not_found) return &datagrams_[found];
  // A flood of first fragments pushes out old datagrams, the flood's own among them; one in progress needs only as long
  // as its fragments take.
  if (datagrams_.full()) give_up(ages_.front(), DropReason::ip_fragment_table_full);
  Datagram& datagram = datagrams_[datagrams_.emplace()];
  datagram.info = info;
  datagram.hash = h;
  datagram.expires = now + limits_.timeout;
  ages_.push_back(datagram);
  if (oldest_expiry_.is_never()) oldest_expiry_ = datagram.expires;
  const bool inserted = index_.insert(h, datagrams_.index_of(datagram));
  POLLUX_DCHECK(inserted);
  (void)inserted;
  return &datagram;
}

/// Finds the place of the fragment, behind `before`.
DropReason Reassembler::check(const Datagram& datagram, const FragmentInfo& info, std::uint32_t end,
                              std::uint32_t& before) const noexcept {
  std::uint32_t after = datagram.head;
  if (datagram.tail != nil && info.offset >= fragments_[datagram.tail].end) {  // in order, as nearly always
    before = datagram.tail;
    after = nil;
  }
  while (after != nil && fragments_[after].offset < info.offset) {
    before = after;
    after = fragments_[after].next;
  }
  const bool last_known = datagram.length != 0;
  if (after != nil && fragments_[after].offset == info.offset && fragments_[after].end == end &&
      info.more == !(last_known && end == datagram.length))
    return DropReason::ip_fragment_duplicate;
  if (before != nil && fragments_[before].end > info.offset) return DropReason::ip_fragment_overlap;
  if (after != nil && end > fragments_[after].offset) return DropReason::ip_fragment_overlap;
  // Two ends, or data behind the end, contradict each other as overlaps do.
  if (last_known && (!info.more || end > datagram.length)) return DropReason::ip_fragment_overlap;
  if (!info.more && after != nil) return DropReason::ip_fragment_overlap;
  return datagram.count == fragments_per_datagram_max ? DropReason::ip_fragment_limit : DropReason::none;
}

DropReason Reassembler::make_room(const Datagram& keep) noexcept {
  const std::uint8_t bucket = bucket_of(keep.info.source);
  if (kept_of_source_[bucket] >= limits_.source_max) {
    Datagram* oldest = &ages_.front();
    while (oldest != nullptr &&
           (oldest == &keep || oldest->count == 0 || bucket_of(oldest->info.source) != bucket))
      oldest = ages_.next(*oldest);
    if (oldest == nullptr) return DropReason::ip_fragment_limit;
    give_up(*oldest, DropReason::ip_fragment_source_limit);
  }
  while (fragments_.full()) {
    if (&ages_.front() == &keep) return DropReason::ip_fragment_limit;
    give_up(ages_.front(), DropReason::ip_fragment_table_full);
  }
  return DropReason::none;
}

void Reassembler::insert(Datagram& datagram, const FragmentInfo& info, Packet packet, std::uint32_t before) noexcept {
  const std::uint32_t size = packet.size();
  const std::uint32_t index = fragments_.emplace();
  Fragment& fragment = fragments_[index];
  fragment.offset = info.offset;
  fragment.end = info.offset + size;
  fragment.packet = std::move(packet);
  fragment.next = before == nil ? datagram.head : fragments_[before].next;
  (before == nil ? datagram.head : fragments_[before].next) = index;
  if (fragment.next == nil) datagram.tail = index;
  ++datagram.count;
  ++kept_of_source_[bucket_of(info.source)];
  datagram.received += size;
  datagram.ecn_seen = static_cast<std::uint8_t>(datagram.ecn_seen | 1u << (info.ecn & 3));
  if (!info.more) datagram.length = fragment.end;
  if (info.offset == 0) datagram.info = info;
}

void Reassembler::take_whole(Datagram& datagram, Added& added) noexcept {
  added.first = datagram.info;
  added.ecn_seen = datagram.ecn_seen;
  rte_mbuf* head = nullptr;
  rte_mbuf* last = nullptr;
  for (std::uint32_t i = datagram.head; i != nil; i = fragments_[i].next) {
    rte_mbuf* const m = fragments_[i].packet.release();
    if (head == nullptr) {
      head = m;
    } else {  // rte_pktmbuf_chain() would look for the last segment anew each time
      last->next = m;
      head->pkt_len += m->pkt_len;
      head->nb_segs = static_cast<std::uint16_t>(head->nb_segs + m->nb_segs);
    }
    last = rte_pktmbuf_lastseg(m);
  }
  added.whole = Packet(head);
  forget(datagram);
}

void Reassembler::drop_fragments(Datagram& datagram, DropReason reason) noexcept {
  counters_.drop(reason, datagram.count);
  free_fragments(datagram);
}

void Reassembler::free_fragments(Datagram& datagram) noexcept {
  kept_of_source_[bucket_of(datagram.info.source)] -= datagram.count;
  for (std::uint32_t i = datagram.head; i != nil;) {
    const std::uint32_t next = fragments_[i].next;
    fragments_.erase(i);
    i = next;
  }
  datagram.head = datagram.tail = nil;
  datagram.count = 0;
}

void Reassembler::count_failure(const Datagram& datagram) noexcept {
  counters_.add(datagram.info.source.is_v4() ? Counter::ip_reasm_fails : Counter::ip6_reasm_fails);
}

void Reassembler::give_up(Datagram& datagram, DropReason reason) noexcept {
  if (!datagram.condemned) count_failure(datagram);
  drop_fragments(datagram, reason);
  forget(datagram);
}

/// Without counting: what is left of it goes.
void Reassembler::forget(Datagram& datagram) noexcept {
  free_fragments(datagram);
  const std::uint32_t index = datagrams_.index_of(datagram);
  index_.erase(datagram.hash, index);
  datagram.age.unlink();
  datagrams_.erase(index);
  oldest_expiry_ = ages_.empty() ? TimePoint::never() : ages_.front().expires;
}

bool Reassembler::expire_one(TimePoint now, Expired& out) noexcept {
  if (now < oldest_expiry_) return false;
  Datagram& datagram = ages_.front();
  out.info = datagram.info;
  out.first.reset();
  if (!datagram.condemned) {
    counters_.add(datagram.info.source.is_v4() ? Counter::ip_reasm_timeout : Counter::ip6_reasm_timeout);
    if (datagram.head != nil && fragments_[datagram.head].offset == 0)
      out.first = std::move(fragments_[datagram.head].packet);
  }
  give_up(datagram, DropReason::ip_fragment_timeout);
  return true;
}

}  // namespace pollux
