// Text to Script.
#include <charconv>
#include <fstream>
#include <limits>
#include <sstream>

#include "pollux/config/load.h"
#include "runner.h"
#include "script.h"
#include "support/conversation.h"

namespace pollux::test {

// --- Words
// ---------------------------------------------------------------------------------------------------

// Words end at blanks outside of double quotes; a word that begins with # ends the line.
Words::Words(std::string path, int line, std::string_view text) : path_(std::move(path)), line_(line) {
  std::string word;
  bool quoted = false;
  const auto end_word = [&] {
    if (!word.empty()) words_.push_back(std::move(word));
    word.clear();
  };
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (!quoted && (c == ' ' || c == '\t')) {
      end_word();
      continue;
    }
    if (!quoted && c == '#' && word.empty()) break;
    word += c;
  }
  if (quoted) fail("a closing \"", word);
  end_word();
}

const std::string& Words::peek() const {
  static const std::string nothing;
  return done() ? nothing : words_[next_];
}

std::string Words::take(const char* expected) {
  if (done()) fail(expected);
  return words_[next_++];
}

std::int64_t Words::number(const char* expected, std::int64_t min, std::int64_t max) {
  const auto value = whole_number(peek(), min, max);
  if (!value) fail(expected);
  ++next_;
  return *value;
}

Duration Words::duration(const char* expected) {
  const auto value = parse_duration(peek());
  if (!value) fail(expected);
  ++next_;
  return *value;
}

void Words::fail(const std::string& expected) const {
  fail(expected, done() ? "the end of the line" : "'" + peek() + "'");
}

void Words::fail(const std::string& expected, const std::string& found) const {
  throw ScriptError(path_ + ":" + std::to_string(line_) + ": expected " + expected + ", found " + found);
}

std::optional<std::int64_t> whole_number(std::string_view text, std::int64_t min, std::int64_t max) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) return {};
  return value;
}

std::optional<std::string> unquoted(std::string_view word) {
  if (word.size() < 2 || word.front() != '"' || word.back() != '"') return {};
  return std::string(word.substr(1, word.size() - 2));
}

// --- Segments
// ------------------------------------------------------------------------------------------------

namespace {

std::uint8_t parse_flags(Words& words) {
  constexpr const char* expected = "flags: some of S F R P U E W and . for ACK, or - for none";
  const std::string word = words.take(expected);
  if (word == "-") return 0;
  std::uint8_t flags = 0;
  constexpr std::string_view letters = "FSRP.UEW";
  for (const char c : word) {
    const std::size_t bit = letters.find(c);
    if (bit == std::string_view::npos) words.fail(expected, "'" + word + "'");
    flags = static_cast<std::uint8_t>(flags | 1u << bit);
  }
  return flags;
}

std::pair<std::int64_t, std::int64_t> parse_block(Words& words, std::string_view text) {
  constexpr std::int64_t max = 0xffffffff;
  const std::size_t dash = text.find('-', 1);  // an edge may be negative: left of the ISN
  const auto left =
      dash == std::string_view::npos ? std::nullopt : whole_number(text.substr(0, dash), -max, max);
  const auto right =
      dash == std::string_view::npos ? std::nullopt : whole_number(text.substr(dash + 1), -max, max);
  if (!left || !right) words.fail("SACK blocks: LEFT-RIGHT[,LEFT-RIGHT...]", "'" + std::string(text) + "'");
  return {*left, *right};
}

std::vector<std::pair<std::int64_t, std::int64_t>> parse_blocks(Words& words, const std::string& text) {
  std::vector<std::pair<std::int64_t, std::int64_t>> blocks;
  std::stringstream rest(text);
  for (std::string block; std::getline(rest, block, ',');) blocks.push_back(parse_block(words, block));
  if (blocks.empty()) words.fail("SACK blocks: LEFT-RIGHT[,LEFT-RIGHT...]", "nothing");
  return blocks;
}

/// One field's name, whether a segment that is sent (expected) may have it, and what it does with its value.
struct Field {
  const char* name;
  bool sent, expected;
  void (*set)(Words&, ScriptSegment&, const std::string& value);
};

template <typename T>
T in_range(Words& words, const char* field, const std::string& value, std::int64_t min, std::int64_t max) {
  const auto number = whole_number(value, min, max);
  if (!number)
    words.fail(std::string(field) + "=" + std::to_string(min) + ".." + std::to_string(max),
               "'" + value + "'");
  return static_cast<T>(*number);
}

constexpr std::int64_t u16 = 0xffff, u32 = 0xffffffff;

std::vector<std::uint8_t> parse_hex(Words& words, const std::string& text) {
  std::vector<std::uint8_t> octets;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    unsigned octet = 0;
    const auto [end, error] =
        std::from_chars(text.data() + i, text.data() + std::min(i + 2, text.size()), octet, 16);
    if (error != std::errc() || end != text.data() + i + 2)
      words.fail("raw=HEX, two digits an octet", "'" + text + "'");
    octets.push_back(static_cast<std::uint8_t>(octet));
  }
  return octets;
}

const Field fields[] = {
    {"seq", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.seq = in_range<std::int64_t>(w, "seq", v, -u32, u32);
     }},
    {"ack", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.ack = in_range<std::int64_t>(w, "ack", v, -u32, u32);
     }},
    {"win", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.window = in_range<std::uint32_t>(w, "win", v, 0, u16);
     }},
    {"win>", false, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.window_min = in_range<std::uint32_t>(w, "win>", v, 0, u16);
     }},
    {"win<", false, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.window_max = in_range<std::uint32_t>(w, "win<", v, 0, u16);
     }},
    {"len", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.len = in_range<std::uint32_t>(w, "len", v, 0, u16);
     }},
    {"data", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.data = unquoted(v);
       if (!s.seg.data) w.fail("data=\"...\"", "'" + v + "'");
     }},
    {"mss", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.mss = in_range<std::uint16_t>(w, "mss", v, 0, u16);
     }},
    {"wscale", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.wscale = in_range<std::uint8_t>(w, "wscale", v, 0, 255);
     }},
    {"tsval", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.ts_value = in_range<std::int64_t>(w, "tsval", v, -u32, u32);
     }},
    {"tsecr", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.ts_echo = in_range<std::int64_t>(w, "tsecr", v, -u32, u32);
     }},
    {"sack", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) { s.seg.sacks = parse_blocks(w, v); }},
    {"urg", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.urgent = in_range<std::uint16_t>(w, "urg", v, 0, u16);
     }},
    {"tos", true, true,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.tos = in_range<std::uint8_t>(w, "tos", v, 0, 255);
     }},
    {"offset", true, false,
     [](Words& w, ScriptSegment& s, const std::string& v) {
       s.seg.data_offset = in_range<std::uint8_t>(w, "offset", v, 0, 15);
     }},
    {"raw", true, false,
     [](Words& w, ScriptSegment& s, const std::string& v) { s.seg.raw_options = parse_hex(w, v); }},
};

/// Words without a value.
bool set_mark(const std::string& word, bool expected, ScriptSegment& s) {
  if (word == "ts") {
    s.timestamp = true;
    s.seg.has_ts = true;
  } else if (word == "-ts") {
    s.seg.has_ts = false;
  } else if (word == "sackok") {
    s.seg.sack_permitted = true;
  } else if (!expected && word == "badsum") {
    s.seg.bad_checksum = true;
  } else if (expected && word == "-sackok") {
    s.seg.sack_permitted = false;
  } else if (expected && word == "-sack") {
    s.seg.sacks.emplace();
  } else if (expected && (word == "mss" || word == "-mss")) {
    s.seg.has_mss = word == "mss";
  } else if (expected && (word == "wscale" || word == "-wscale")) {
    s.seg.has_wscale = word == "wscale";
  } else if (expected && word == "-psh") {
    s.seg.push = false;
  } else {
    return false;
  }
  return true;
}

std::string field_names(bool expected) {
  std::string names;
  for (const Field& field : fields)
    if (expected ? field.expected : field.sent) names += std::string(field.name) + "= ";
  return names + (expected ? "[-]ts [-]sackok -sack [-]mss [-]wscale -psh xN" : "[-]ts sackok badsum xN");
}

}  // namespace

void parse_fields(Words& words, bool expected, ScriptSegment& segment) {
  while (!words.done()) {
    const std::string word = words.peek();
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) {
      if (word[0] == 'x' && word.size() > 1) {
        segment.times = in_range<std::uint32_t>(words, "x", word.substr(1), 1, 10'000);
      } else if (!set_mark(word, expected, segment)) {
        words.fail("one of " + field_names(expected));
      }
      words.take("");
      continue;
    }
    const std::string name = word.substr(0, equals);
    const Field* found = nullptr;
    for (const Field& field : fields)
      if (field.name == name && (expected ? field.expected : field.sent)) found = &field;
    if (found == nullptr) words.fail("one of " + field_names(expected));
    found->set(words, segment, word.substr(equals + 1));
    words.take("");
  }
}

ScriptSegment parse_segment(Words& words, bool expected) {
  ScriptSegment segment;
  segment.flags = parse_flags(words);
  parse_fields(words, expected, segment);
  if (expected && (segment.flags & PSH) != 0) segment.seg.push = true;
  return segment;
}

// --- Lines
// ---------------------------------------------------------------------------------------------------

namespace {

constexpr const char* time_form = "a time: +40ms, +40ms~5ms (give or take) or +40ms..60ms";

Duration time_part(Words& words, const std::string& text) {
  const auto value = parse_duration(text);
  if (!value) words.fail(time_form);
  return *value;
}

StepTime parse_time(Words& words) {
  StepTime time;
  if (words.peek().empty() || words.peek()[0] != '+') return time;
  const std::string word = words.peek().substr(1);
  time.given = true;
  if (const std::size_t dots = word.find(".."); dots != std::string::npos) {
    time.from = time_part(words, word.substr(0, dots));
    time.to = time_part(words, word.substr(dots + 2));
    if (time.to < time.from) words.fail("a range that does not end before it begins");
  } else if (const std::size_t wave = word.find('~'); wave != std::string::npos) {
    const Duration middle = time_part(words, word.substr(0, wave));
    const Duration margin = time_part(words, word.substr(wave + 1));
    time.from = margin < middle ? middle - margin : Duration{};
    time.to = middle + margin;
  } else {
    time.from = time_part(words, word);
    time.to = time.from + Runner::tolerance;
  }
  words.take("");
  return time;
}

// The keys of the configuration file's map `tcp`, so that an option is called what users call it.
void parse_option(Words& words, Script& script) {
  const std::string name = words.take("a key of the configuration's tcp section, or mtu");
  if (name == "mtu") {
    script.mtu = static_cast<std::uint16_t>(words.number("mtu 576..9000", 576, 9000));
    return;
  }
  Config config;
  config.tcp = script.tcp;
  const Section all = config_section(config);
  for (const ConfigKey& key : all.keys()) {
    if (key.name != "tcp") continue;
    for (const ConfigKey& option : key.section->keys()) {
      if (option.name != name || option.kind != ConfigKey::Kind::scalar) continue;
      if (words.done() || !option.scalar.set(words.peek())) words.fail(name + ": " + option.scalar.expected);
      words.take("");
      for (const ConfigRule& rule : key.section->rules())
        if (const auto problem = rule.problem()) words.fail(rule.key + ": " + *problem, "another");
      script.tcp = config.tcp;
      return;
    }
  }
  words.fail("a key of the configuration's tcp section, or mtu", "'" + name + "'");
}

std::function<void(Runner&, const Where&)> parse_action(Words& words, const StepTime& time) {
  const std::string word = words.take("an action");
  if (word == ">" || word == "<") {
    const bool expected = word == "<";
    const ScriptSegment segment = parse_segment(words, expected);
    if (expected) return [segment, time](Runner& r, const Where& w) { r.expects(segment, time, w); };
    return [segment, time](Runner& r, const Where& w) {
      r.waits(time, w);
      r.sends(segment, w);
    };
  }
  const CommandParser parser = find_command(word);
  if (parser == nullptr) words.fail("> < burst or one of " + command_names(), "'" + word + "'");
  auto act = parser(words);
  if (!words.done()) words.fail("the end of the line");
  return [act = std::move(act), time](Runner& r, const Where& w) {
    if (time.given) r.waits(time, w);
    if (!r.c.peer.failed()) act(r, w);
  };
}

}  // namespace

Script parse_script(const std::string& path, const std::string& text) {
  Script script;
  script.path = path;
  script.tcp = plain_tcp();
  std::vector<Step> burst;
  int burst_line = 0;
  StepTime burst_time;
  std::stringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    Words words(path, ++number, line);
    if (words.done()) continue;
    if (words.peek() == "option") {
      if (!script.steps.empty() || burst_line != 0) words.fail("options in front of the first step");
      words.take("");
      parse_option(words, script);
      if (!words.done()) words.fail("the end of the line");
      continue;
    }
    const StepTime time = parse_time(words);
    if (words.peek() == "burst" && burst_line == 0) {
      words.take("");
      if (!words.done()) words.fail("the end of the line");
      burst_line = number;
      burst_time = time;
    } else if (words.peek() == "end" && burst_line != 0) {
      if (burst.empty()) words.fail("segments in the burst");
      script.steps.push_back({burst_line, "burst", [burst, burst_time](Runner& r, const Where& w) {
                                r.waits(burst_time, w);
                                r.burst(burst, w);
                              }});
      burst.clear();
      burst_line = 0;
    } else {
      if (burst_line != 0 && (words.peek() != ">" || time.given))
        words.fail("> without a time, or end, in a burst");
      (burst_line != 0 ? burst : script.steps).push_back({number, line, parse_action(words, time)});
    }
  }
  const Words end(path, number + 1, "");
  if (burst_line != 0)
    end.fail("end of the burst of line " + std::to_string(burst_line), "the end of the file");
  if (script.steps.empty()) end.fail("a step", "the end of the file");
  return script;
}

Script load_script(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw ScriptError(path + ":0: expected a readable file, found none");
  std::stringstream text;
  text << file.rdbuf();
  return parse_script(path, text.str());
}

}  // namespace pollux::test
