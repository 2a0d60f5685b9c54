// The language itself: what a mistake in a script is told, and that a script fails when the stack does not do
// what it says.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "runner.h"

namespace pollux::test {
namespace {

std::string parse_error(const std::string& text) {
  try {
    parse_script("x.script", text);
  } catch (const ScriptError& error) {
    return error.what();
  }
  return "none";
}

struct Mistake {
  const char* text;
  const char* told;  ///< how the error begins
};

class ScriptMistakes : public testing::TestWithParam<Mistake> {};

TEST_P(ScriptMistakes, NameTheLineAndWhatWasExpected) {
  EXPECT_EQ(parse_error(GetParam().text).substr(0, std::string(GetParam().told).size()), GetParam().told);
}

INSTANTIATE_TEST_SUITE_P(
    Language, ScriptMistakes,
    testing::Values(
        Mistake{"", "x.script:1: expected a step, found the end of the file"},
        Mistake{"listen\nfrob", "x.script:2: expected > < burst or one of listen accept"},
        Mistake{"> Q",
                "x.script:1: expected flags: some of S F R P U E W and . for ACK, or - for none, found 'Q'"},
        Mistake{
            ">",
            "x.script:1: expected flags: some of S F R P U E W and . for ACK, or - for none, found the end"},
        Mistake{"> S len=70000", "x.script:1: expected len=0..65535, found '70000'"},
        Mistake{"> S length=7", "x.script:1: expected one of seq= ack="},
        Mistake{"> S win>=7", "x.script:1: expected one of seq= ack="},
        Mistake{"> S -mss", "x.script:1: expected one of seq= ack="},
        Mistake{"< . sack=5", "x.script:1: expected SACK blocks: LEFT-RIGHT[,LEFT-RIGHT...], found '5'"},
        Mistake{"< . sack=", "x.script:1: expected SACK blocks: LEFT-RIGHT[,LEFT-RIGHT...], found nothing"},
        Mistake{"> . data=abc", "x.script:1: expected data=\"...\", found 'abc'"},
        Mistake{"> . data=\"abc", "x.script:1: expected a closing \", found data=\"abc"},
        Mistake{"> . raw=123", "x.script:1: expected raw=HEX, two digits an octet, found '123'"},
        Mistake{"> . x0", "x.script:1: expected x=1..10000, found '0'"},
        Mistake{"+40 < .",
                "x.script:1: expected a time: +40ms, +40ms~5ms (give or take) or +40ms..60ms, found '+40'"},
        Mistake{"+60ms..40ms < .", "x.script:1: expected a range that does not end before it begins"},
        Mistake{"wait", "x.script:1: expected a time, found the end of the line"},
        Mistake{"option frob 1\nlisten",
                "x.script:1: expected a key of the configuration's tcp section, or mtu, found 'frob'"},
        Mistake{"option nagle maybe\nlisten", "x.script:1: expected nagle: true or false, found 'maybe'"},
        Mistake{"option rto_min 50s\nlisten", "x.script:1: expected rto_initial: expected rto_min"},
        Mistake{"option nagle true false\nlisten", "x.script:1: expected the end of the line, found 'false'"},
        Mistake{"listen\noption nagle true",
                "x.script:2: expected options in front of the first step, found 'option'"},
        Mistake{"listen 7", "x.script:1: expected the end of the line, found '7'"},
        Mistake{"accept rtt=soon", "x.script:1: expected rtt=TIME, found 'rtt=soon'"},
        Mistake{"send", "x.script:1: expected octets 1..10000000, or \"text\", found the end of the line"},
        Mistake{"send 10 takes 11", "x.script:1: expected takes 0..octets, found '11'"},
        Mistake{"set color true",
                "x.script:1: expected nagle | keepalive | user_timeout | tos, found 'color'"},
        Mistake{"set nagle 1", "x.script:1: expected true | false, found '1'"},
        Mistake{"peer mood 5", "x.script:1: expected isn | window | next | port, found 'mood'"},
        Mistake{"icmp rain", "x.script:1: expected net_unreachable | host_unreachable"},
        Mistake{"icmp net_unreachable ttl=1", "x.script:1: expected seq=N or mtu=N, found 'ttl=1'"},
        Mistake{"state OPEN",
                "x.script:1: expected a state of RFC 9293, as ESTABLISHED or CLOSE-WAIT, found 'OPEN'"},
        Mistake{"closed well", "x.script:1: expected normal | reset_by_peer"},
        Mistake{"event rain", "x.script:1: expected connected | writable"},
        Mistake{"counter Frob 1",
                "x.script:1: expected a counter's name, as l4echo prints it, or a drop reason, found 'Frob'"},
        Mistake{"counter TcpInSegs",
                "x.script:1: expected its value, or FROM..TO, found the end of the line"},
        Mistake{"flight 9..5", "x.script:1: expected octets, or FROM..TO, found '9..5'"},
        Mistake{"round 10ms thrice", "x.script:1: expected every N, times N or lose N,N..., found 'thrice'"},
        Mistake{"round 10ms lose 1,x", "x.script:1: expected lose N,N..., found 'x'"},
        Mistake{"burst\n> S", "x.script:3: expected end of the burst of line 1, found the end of the file"},
        Mistake{"burst\nend", "x.script:2: expected segments in the burst, found 'end'"},
        Mistake{"burst\nsend 5\nend",
                "x.script:2: expected > without a time, or end, in a burst, found 'send'"}));

struct Lie {
  const char* text;
  const char* told;  ///< part of the failure
};

class ScriptLies : public testing::TestWithParam<Lie> {};

// Each script is true but for one line, and the failure names that line.
TEST_P(ScriptLies, Fail) {
  const Script script = parse_script("x.script", GetParam().text);
  testing::TestPartResultArray failures;
  {
    testing::ScopedFakeTestPartResultReporter reporter(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &failures);
    Runner(script).run();
  }
  ASSERT_EQ(failures.size(), 1);
  const testing::TestPartResult& failure = failures.GetTestPartResult(0);
  EXPECT_STREQ(failure.file_name(), "x.script");
  EXPECT_EQ(failure.line_number(), script.steps.back().line);
  EXPECT_NE(std::string(failure.message()).find(GetParam().told), std::string::npos) << failure.message();
  EXPECT_NE(std::string(failure.message()).find("the conversation (peer > stack, peer < stack):"),
            std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Language, ScriptLies,
    testing::Values(
        Lie{"listen\n> S mss=1460\n< S. seq=0 ack=2",
            "line: < S. seq=0 ack=2\nack is 1, expected 2; \ncame: [S.] seq 0 ack 1"},
        Lie{"listen\n> S mss=1460\n< S seq=0", "flags [S.], expected [S]"},
        Lie{"listen\n> S mss=1460\n> .", "expected nothing, came [S.]"},
        Lie{"accept\n< .", "expected [.], nothing came"}, Lie{"accept\n+1s < .", "nothing came"},
        Lie{"accept\nsend 5\n+1ms < . seq=1", "came after 0"},
        Lie{"accept\nsend 5\nwait 1s", "expected nothing, came [P.] seq 1"},
        Lie{"accept\nsend 5\n< .\nwait 2s", "expected nothing, came [P.] seq 1"},
        Lie{"accept\nsend 5\n< . seq=1 len=4", "length is 5, expected 4"},
        Lie{"accept\nsend \"abc\"\n< . data=\"abd\"", "payload differs"},
        Lie{"accept\nsend 5\n< . -psh", "PSH is 1, expected 0"},
        Lie{"listen\n> S mss=1460\n< S. mss=1000", "mss is 1460, expected 1000"},
        Lie{"listen\n> S mss=1460\n< S. wscale", "presence of window scale is 0, expected 1"},
        Lie{"listen\n> S mss=1460 sackok\n< S. -sackok", "presence of SACK-permitted is 1, expected 0"},
        Lie{"listen\n> S mss=1460\n< S. ts", "presence of timestamp is 0, expected 1"},
        Lie{"option timestamps true\nlisten\n> S ts\n< S. tsval=0 tsecr=1",
            "ts echo is 5000000, expected 5000001"},
        Lie{"accept\nkeep\n> . len=1000\n< . win>=65000", "window is 64535, expected at least 65000"},
        Lie{"listen\n> S mss=1460\n< S. win<=100", "window is 65535, expected at most 100"},
        Lie{"accept mss=1460 sackok\n> . seq=101 len=100\n< . sack=101-202",
            "SACK blocks 101-201, expected 101-202"},
        Lie{"accept mss=1460 sackok\n> . seq=101 len=100\n< . -sack", "SACK blocks 101-201, expected none"},
        Lie{"accept\n> . len=5\nread 4", "the application got 5 octets, expected 4"},
        Lie{"accept\n> . data=\"abc\"\nread \"abd\"", "the application got other octets than were sent"},
        Lie{"accept\nsend 300000 takes 300000", "send took"},
        Lie{"accept\nclosed normal", "on_closed came 0 times"},
        Lie{"accept\n> R. seq=1\nclosed normal", "on_closed says: reset by peer"},
        Lie{"accept\nevent connected", "came 0 times, expected 1"},
        Lie{"accept\nstate LISTEN", "the connection is in ESTABLISHED"},
        Lie{"accept\ncounter TcpInSegs 3", "the counter is 2, expected 3"},
        Lie{"accept\ncounter tcp_paws 1..2", "the counter is 0, expected 1..2"},
        Lie{"accept\nsend 5\nflight 4", "5 octets are outstanding, expected 4"},
        Lie{"accept\nrelease", "the application keeps nothing"},
        Lie{"accept\nsend 5\nround 1ms lose 2", "fewer segments have come than one that is to be lost"},
        Lie{"accept\nround 1ms", "nothing has come that a round trip could acknowledge"}));

TEST(ScriptEnd, WhatWasNotExpectedFailsTheScript) {
  const Script script = parse_script("x.script", "accept\nsend 5");
  EXPECT_NONFATAL_FAILURE(Runner(script).run(), "expected nothing, came [P.] seq 1");
}

TEST(ScriptLanguage, StopsAtTheFirstFailure) {
  const Script script = parse_script("x.script", "accept\nstate LISTEN\nstate LISTEN");
  EXPECT_NONFATAL_FAILURE(Runner(script).run(), "ESTABLISHED");
}

// The page's example is a script that runs.
TEST(ScriptLanguage, ReadmeShowsAScriptThatExists) {
  const auto text_of = [](const std::string& name) {
    std::ifstream file(std::string(POLLUX_SCRIPTS) + "/" + name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string example = text_of("sack/lost_segment.script");
  EXPECT_FALSE(example.empty());
  EXPECT_NE(text_of("README.md").find("```\n" + example + "```\n"), std::string::npos);
}

// The page names every command.
TEST(ScriptLanguage, ReadmeNamesEveryCommand) {
  std::ifstream file(std::string(POLLUX_SCRIPTS) + "/README.md");
  const std::string page(std::istreambuf_iterator<char>(file), {});
  std::stringstream names(command_names());
  for (std::string name; names >> name;) EXPECT_NE(page.find("`" + name), std::string::npos) << name;
}

}  // namespace
}  // namespace pollux::test
