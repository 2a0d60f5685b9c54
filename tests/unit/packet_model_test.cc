// Random operations on packets that share buffers, each against a std::string that shares nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "packet_chain.h"
#include "pollux/base/rng.h"
#include "pollux/packet/bytes.h"
#include "support/seed.h"

namespace pollux {
namespace {

class Model {
 public:
  explicit Model(Rng& rng) : rng_(rng) {}

  void step() {
    heap_.set_limit(rng_.chance(0.1) ? rng_.below(20) : 1000);  // now and then the pools run out
    if (items_.size() < 2 || (items_.size() < 12 && rng_.chance(0.2))) return make();
    Item& item = any();
    switch (rng_.below(9)) {
      case 0:
        return push_front(item);
      case 1:
        return push_back(item);
      case 2:
        return pull_front(item);
      case 3:
        return trim_to(item);
      case 4:
        return chain(item);
      case 5:
        return split(item);
      case 6:
        return reference(item);
      case 7:
        return copy_out(item);
      default:
        return drop(item);
    }
  }

  void check() const {
    for (const Item& item : items_) {
      ASSERT_EQ(test::text_of(item.packet), item.text);
      ASSERT_EQ(item.packet.size(), item.text.size());
      const char* reason = nullptr;
      ASSERT_EQ(rte_mbuf_check(item.packet.mbuf(), 1, &reason), 0) << reason;
    }
  }

 private:
  struct Item {
    Packet packet;
    std::string text;
  };

  Item& any() { return items_[rng_.below(static_cast<std::uint32_t>(items_.size()))]; }
  std::uint32_t up_to(std::size_t n) { return rng_.below(static_cast<std::uint32_t>(n) + 1); }
  std::string random_text(std::size_t n) {
    std::string text(n, '\0');
    for (char& c : text) c = static_cast<char>(rng_.next());
    return text;
  }

  void make() {
    std::string text = random_text(up_to(200));
    Packet packet =
        rng_.chance(0.2) ? heap_.exact_copy_of(test::octets(text)) : pool_.copy_of(test::octets(text));
    if (packet) items_.push_back({std::move(packet), std::move(text)});
  }
  void push_front(Item& item) {
    const std::string text = random_text(up_to(40));
    std::uint8_t* const at = item.packet.push_front(static_cast<std::uint32_t>(text.size()));
    if (at == nullptr) return;
    std::copy(text.begin(), text.end(), at);
    item.text.insert(0, text);
  }
  void push_back(Item& item) {
    const std::string text = random_text(up_to(40));
    std::uint8_t* const at = item.packet.push_back(static_cast<std::uint32_t>(text.size()));
    if (at == nullptr) return;
    std::copy(text.begin(), text.end(), at);
    item.text += text;
  }
  void pull_front(Item& item) {
    const std::uint32_t n = up_to(item.text.size());
    item.packet.pull_front(n);
    item.text.erase(0, n);
  }
  void trim_to(Item& item) {
    const std::uint32_t n = up_to(item.text.size());
    item.packet.trim_to(n);
    item.text.resize(n);
  }
  void chain(Item& item) {
    Item& tail = any();
    if (&tail == &item || item.text.size() + tail.text.size() > 2000) return;
    ASSERT_TRUE(item.packet.chain(tail.packet));
    item.text += tail.text;
    drop(tail);
  }
  void split(Item& item) {
    Bytes bytes(std::move(item.packet));
    const std::uint32_t n = up_to(item.text.size());
    Bytes front = bytes.split_front(pool_, n);
    Item piece{front.take_packet(), item.text.substr(0, n)};
    item.packet = bytes.take_packet();
    if (piece.packet && n != 0) item.text.erase(0, n);
    if (piece.packet) items_.push_back(std::move(piece));
    std::erase_if(items_, [](const Item& i) { return !i.packet; });  // split off as a whole
  }
  void reference(Item& item) {
    rte_mbuf* m = item.packet.mbuf();
    std::size_t start = 0;
    while (m->next != nullptr && rng_.chance(0.5)) {
      start += m->data_len;
      m = m->next;
    }
    const std::uint32_t offset = up_to(m->data_len);
    const std::uint32_t length = up_to(m->data_len - offset);
    Packet packet = pool_.reference(*m, offset, length);
    if (packet) items_.push_back({std::move(packet), item.text.substr(start + offset, length)});
  }
  void copy_out(Item& item) {
    const std::uint32_t offset = up_to(item.text.size());
    std::vector<std::uint8_t> out(up_to(item.text.size() - offset));
    item.packet.copy_out(offset, out);
    ASSERT_EQ(std::string(out.begin(), out.end()), item.text.substr(offset, out.size()));
  }
  void drop(Item& item) {
    std::swap(item, items_.back());
    items_.pop_back();
  }

  Rng& rng_;
  test::HeapPool heap_{1000, 64};  // small buffers: chains are common. Its destructor finds a leak.
  PacketPool pool_ = heap_.pool();
  std::vector<Item> items_;
};

TEST(PacketModel, ContentIsThatOfAString) {
  const std::uint64_t seed = test::seed_from_environment(20'260'102);
  for (std::uint64_t round = 0; round < 100; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    Rng rng(seed + round);
    Model model(rng);
    for (int i = 0; i < 300; ++i) {
      model.step();
      model.check();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace pollux
