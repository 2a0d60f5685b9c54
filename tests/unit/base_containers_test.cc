// Slab, HashIndex and IntrusiveList against plain models.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "pollux/base/hash_index.h"
#include "pollux/base/intrusive_list.h"
#include "pollux/base/rng.h"
#include "pollux/base/slab.h"
#include "support/seed.h"

namespace pollux {
namespace {

struct Tracked {
  Tracked(int& counter, int initial) : alive(counter), value(initial) { ++alive; }
  ~Tracked() { --alive; }
  Tracked(const Tracked&) = delete;
  Tracked& operator=(const Tracked&) = delete;
  int& alive;
  int value;
};

TEST(Slab, ConstructsFindsAndDestroys) {
  int alive = 0;
  {
    Slab<Tracked> slab(4);
    EXPECT_EQ(slab.capacity(), 4u);
    const std::uint32_t first = slab.emplace(alive, 11);
    const std::uint32_t second = slab.emplace(alive, 22);
    EXPECT_EQ(alive, 2);
    EXPECT_EQ(slab.size(), 2u);
    EXPECT_EQ(slab[first].value, 11);
    EXPECT_EQ(slab[second].value, 22);
    EXPECT_EQ(slab.index_of(slab[second]), second);
    EXPECT_EQ(slab.find(slab.handle(first)), &slab[first]);
    slab.erase(first);
    EXPECT_EQ(alive, 1);
    EXPECT_FALSE(slab.is_live(first));
    EXPECT_TRUE(slab.is_live(second));
  }
  EXPECT_EQ(alive, 0) << "the slab's end destroys what is left";
}

TEST(Slab, ReusedSlotDoesNotAnswerToTheOldHandle) {
  Slab<int> slab(1);
  std::vector<SlabHandle> stale;
  for (int tenant = 0; tenant < 100; ++tenant) {
    const std::uint32_t index = slab.emplace(tenant);
    ASSERT_EQ(index, 0u);
    const SlabHandle handle = slab.handle(index);
    ASSERT_NE(handle.generation, 0u);
    ASSERT_EQ(*slab.find(handle), tenant);
    for (const SlabHandle& old : stale) ASSERT_EQ(slab.find(old), nullptr);
    slab.erase(index);
    ASSERT_EQ(slab.find(handle), nullptr);
    stale.push_back(handle);
  }
}

TEST(Slab, HandlesThatWereNeverIssuedFindNothing) {
  Slab<int> slab(3);
  const std::uint32_t index = slab.emplace(1);
  EXPECT_EQ(slab.find(SlabHandle{}), nullptr) << "a default handle";
  EXPECT_EQ(slab.find({index, slab.handle(index).generation + 1}), nullptr) << "a later tenant";
  EXPECT_EQ(slab.find({index + 1, 1}), nullptr) << "an untouched slot";
  EXPECT_EQ(slab.find({3, 1}), nullptr) << "beyond the capacity";
  EXPECT_EQ(slab.find({Slab<int>::nil, 1}), nullptr);
}

TEST(Slab, RefusesWhenFullAndRecovers) {
  Slab<std::string> slab(3);
  std::vector<std::uint32_t> indices;
  for (int i = 0; i < 3; ++i) indices.push_back(slab.emplace("a string too long for the small buffer"));
  EXPECT_TRUE(slab.full());
  EXPECT_EQ(slab.emplace("refused"), Slab<std::string>::nil);
  EXPECT_EQ(slab.size(), 3u);
  slab.erase(indices[1]);
  EXPECT_FALSE(slab.full());
  EXPECT_EQ(slab.emplace("accepted"), indices[1]);
  EXPECT_EQ(slab[indices[1]], "accepted");
}

TEST(Slab, ForEachVisitsTheLiveAndMayEraseThem) {
  Slab<int> slab(10);
  for (int i = 0; i < 10; ++i) ASSERT_NE(slab.emplace(i), Slab<int>::nil);
  slab.for_each([&](std::uint32_t index, int& value) {
    if (value % 2 == 0) slab.erase(index);
  });
  std::vector<int> left;
  slab.for_each([&](std::uint32_t, int& value) { left.push_back(value); });
  EXPECT_EQ(left, (std::vector<int>{1, 3, 5, 7, 9}));
  EXPECT_EQ(slab.size(), 5u);
}

TEST(Slab, KeepsTheAlignmentOfItsElements) {
  struct alignas(64) Line {
    char bytes[64] = {};
  };
  Slab<Line> slab(3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&slab[slab.emplace()]) % 64, 0u);
}

TEST(Slab, BehavesLikeAMapUnderRandomUse) {
  Rng rng(test::seed_from_environment(2));
  Slab<std::uint64_t> slab(64);
  std::map<std::uint32_t, std::pair<SlabHandle, std::uint64_t>> model;
  std::vector<SlabHandle> gone;
  for (int step = 0; step < 20000; ++step) {
    if (rng.chance(0.52)) {
      const std::uint64_t value = rng.next();
      const std::uint32_t index = slab.emplace(value);
      ASSERT_EQ(index == Slab<std::uint64_t>::nil, model.size() == 64);
      if (index == Slab<std::uint64_t>::nil) continue;
      ASSERT_TRUE(model.emplace(index, std::pair{slab.handle(index), value}).second);
    } else if (!model.empty()) {
      const auto victim = std::next(model.begin(), rng.below(static_cast<std::uint32_t>(model.size())));
      slab.erase(victim->first);
      gone.push_back(victim->second.first);
      model.erase(victim);
    }
    ASSERT_EQ(slab.size(), model.size());
    if (gone.empty()) continue;
    ASSERT_EQ(slab.find(gone[rng.below(static_cast<std::uint32_t>(gone.size()))]), nullptr);
  }
  for (const auto& [index, entry] : model) EXPECT_EQ(*slab.find(entry.first), entry.second);
}

TEST(HashIndex, FindsOnlyWhatMatchesUnderTheHash) {
  HashIndex index(8);
  ASSERT_TRUE(index.insert(5, 100));
  ASSERT_TRUE(index.insert(5, 101));
  ASSERT_TRUE(index.insert(5 + 16, 102)) << "same home, other hash";
  const auto is = [](std::uint32_t wanted) { return [wanted](std::uint32_t ref) { return ref == wanted; }; };
  EXPECT_EQ(index.find(5, is(100)), 100u);
  EXPECT_EQ(index.find(5, is(101)), 101u);
  EXPECT_EQ(index.find(5, is(102)), HashIndex::not_found);
  EXPECT_EQ(index.find(21, is(102)), 102u);
  EXPECT_EQ(index.find(6, is(100)), HashIndex::not_found);
  index.replace(5, 101, 7);
  EXPECT_EQ(index.find(5, is(101)), HashIndex::not_found);
  EXPECT_EQ(index.find(5, is(7)), 7u);
  EXPECT_EQ(index.size(), 3u);
}

TEST(HashIndex, RefusesBeyondItsCapacityAndRecovers) {
  for (const std::uint32_t capacity : {1u, 2u, 3u, 1000u}) {
    HashIndex index(capacity);
    for (std::uint32_t i = 0; i < capacity; ++i) ASSERT_TRUE(index.insert(i * 77, i));
    EXPECT_FALSE(index.insert(1, capacity));
    index.erase(0, 0);
    EXPECT_TRUE(index.insert(1, capacity));
    EXPECT_EQ(index.size(), capacity);
  }
}

TEST(HashIndexDeathTest, ErasingWhatIsNotThereIsABug) {
  HashIndex index(4);
  ASSERT_TRUE(index.insert(9, 1));
  EXPECT_DEATH(index.erase(9, 2), "hash index lost ref 2 hash 00000009");
  EXPECT_DEATH(HashIndex(0), "hash index of 0 entries");
}

struct HashShape {
  const char* name;
  std::uint32_t distinct;  // hashes are drawn from this many
  std::uint32_t stride;
};

class HashIndexModel : public testing::TestWithParam<HashShape> {};

// Every reference has one hash, as every connection has; the model maps one to the other.
TEST_P(HashIndexModel, AgreesWithAnUnorderedMapUnderRandomUse) {
  constexpr std::uint32_t capacity = 200;
  constexpr std::uint32_t refs = 400;
  Rng rng(test::seed_from_environment(3));
  HashIndex index(capacity);
  std::unordered_map<std::uint32_t, std::uint32_t> model;
  const auto find = [&](std::uint32_t hash, std::uint32_t wanted) {
    return index.find(hash, [wanted](std::uint32_t ref) { return ref == wanted; });
  };
  for (int step = 0; step < 30000; ++step) {
    const std::uint32_t ref = rng.below(refs);
    const auto entry = model.find(ref);
    if (entry != model.end()) {
      ASSERT_EQ(find(entry->second, ref), ref);
      index.erase(entry->second, ref);
      ASSERT_EQ(find(entry->second, ref), HashIndex::not_found);
      model.erase(entry);
    } else {
      const std::uint32_t hash = rng.below(GetParam().distinct) * GetParam().stride;
      ASSERT_EQ(index.insert(hash, ref), model.size() < capacity);
      if (model.size() < capacity) model.emplace(ref, hash);
    }
    ASSERT_EQ(index.size(), model.size());
    if (step % 500 != 0) continue;
    for (const auto& [known_ref, hash] : model)
      ASSERT_EQ(find(hash, known_ref), known_ref) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Hashes, HashIndexModel,
                         testing::Values(HashShape{"spread", 0xffffffff, 1}, HashShape{"few", 16, 1},
                                         HashShape{"one", 1, 0}, HashShape{"same_home", 1000, 512},
                                         HashShape{"around_the_wrap", 8, 0x1fffffff}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

struct Element {
  int before = 0;  // so that the node is not at offset 0
  ListNode node;
  ListNode other_node;
  int value = 0;
};

using List = IntrusiveList<Element, &Element::node>;

std::vector<int> values_of(List& list) {
  std::vector<int> values;
  if (list.empty()) return values;
  for (Element* e = &list.front(); e != nullptr; e = list.next(*e)) values.push_back(e->value);
  return values;
}

TEST(IntrusiveList, KeepsOrderFromBothEnds) {
  Element a{.value = 1}, b{.value = 2}, c{.value = 3};
  List list;
  EXPECT_TRUE(list.empty());
  list.push_back(b);
  list.push_back(c);
  list.push_front(a);
  EXPECT_EQ(values_of(list), (std::vector<int>{1, 2, 3}));
  EXPECT_TRUE(b.node.is_linked());
  b.node.unlink();
  EXPECT_FALSE(b.node.is_linked());
  EXPECT_EQ(values_of(list), (std::vector<int>{1, 3}));
  EXPECT_EQ(&list.pop_front(), &a);
  EXPECT_EQ(&list.pop_front(), &c);
  EXPECT_TRUE(list.empty());
  EXPECT_FALSE(c.node.is_linked());
}

TEST(IntrusiveList, AnElementMayBeInOneListPerNode) {
  Element a{.value = 1}, b{.value = 2};
  List by_node;
  IntrusiveList<Element, &Element::other_node> by_other;
  by_node.push_back(a);
  by_node.push_back(b);
  by_other.push_back(b);
  by_other.push_back(a);
  EXPECT_EQ(&by_node.pop_front(), &a);
  EXPECT_EQ(&by_other.pop_front(), &b);
  EXPECT_EQ(&by_node.pop_front(), &b);
  EXPECT_EQ(&by_other.pop_front(), &a);
}

TEST(IntrusiveList, AgreesWithADequeUnderRandomUse) {
  Rng rng(test::seed_from_environment(4));
  std::vector<Element> elements(32);
  for (int i = 0; i < 32; ++i) elements[static_cast<std::size_t>(i)].value = i;
  List list;
  std::deque<int> model;
  for (int step = 0; step < 5000; ++step) {
    Element& e = elements[rng.below(32)];
    if (e.node.is_linked()) {
      e.node.unlink();
      std::erase(model, e.value);
    } else if (rng.chance(0.5)) {
      list.push_back(e);
      model.push_back(e.value);
    } else {
      list.push_front(e);
      model.push_front(e.value);
    }
    ASSERT_EQ(values_of(list), std::vector<int>(model.begin(), model.end()));
  }
  while (!list.empty()) list.pop_front();
}

}  // namespace
}  // namespace pollux
