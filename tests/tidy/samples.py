"""For each rule a sample that it must catch and one that it must leave alone: a rule that never fires is no rule."""

TABLE = """layer_list = [
  ['base', 'lib/base', [], []],
  ['wire', 'lib/wire', ['base'], []],
  ['stack', 'lib/stack', ['wire'], []],
  ['drivers_glue', 'drivers_glue', ['stack'], [dpdk, numa]],
]
"""


def source(text, path="lib/tcp/x.cc"):
    return {path: text, "meson.build": TABLE}


LONG_FUNCTION = "void f() {\n" + "  g();\n" * 80 + "}\n"

# rule name -> (files that must be caught, files that must pass), several samples each
SAMPLES = {
    "banned_calls": (
        [source(f"void f() {{ {call}; }}\n") for call in (
            "rte_eth_rx_burst(0, 0, p, 32)", "auto id = rte_lcore_id()", "rte_eal_init(0, nullptr)", "auto t = rte_rdtsc()",
            "auto t = std::chrono::steady_clock::now()", "clock_gettime(0, &ts)", "std::random_device d", "int r = rand()",
            "std::mutex m", "std::atomic<int> n", "__atomic_add_fetch(&n, 1, 0)", "std::thread t", "pthread_self()",
            "std::unordered_map<int, int> m", "std::map<int, int> m", "printf(\"x\")", "std::function<void()> f")],
        [source("// rte_eth_rx_burst, std::mutex: not in a comment\nvoid f() { log(\"rte_eal_init std::atomic\"); }\n"),
         source("void f() { brand(1); std::snprintf(b, 2, \"\"); rte_pktmbuf_free(m); }\n"),
         source("std::mutex m;\n", "drivers_glue/x.cc")]),
    "no_exceptions": (
        [source("void f() { throw 1; }\n"), source("void f() { try { g(); } catch (...) {} }\n")],
        [source("// throw\nvoid f() { g(\"throw\"); }\n"), source("void f() { throw 1; }\n", "config/x.cc")]),
    "no_allocation": (
        [source("void f() noexcept { auto* x = new Thing; }\n"),
         source("struct S { void f() noexcept { p = std::make_unique<int>(1); } };\n"),
         source("void f() noexcept { std::vector<int> v(3); }\n"), source("void f() noexcept { auto p = malloc(3); }\n")],
        [source("S::S() : p_(std::make_unique<int>(1)), q_{new int} { x = new Thing; }\n"),
         source("void f() noexcept { new (slot) Thing; }\n"),
         source("void f(const std::vector<int>& v) noexcept { for (const std::string& s : v) g(s); }\n"),
         source("Result<S> create() { return std::make_unique<S>(); }\nvoid g() noexcept {}\n")]),
    "include_direction": (
        [source('#include "pollux/stack/stack.h"\n', "lib/wire/x.h"), source('#include "x.h"\n', "lib/wire/x.cc"),
         source('#include "../base/x.h"\n', "lib/wire/x.cc"), source('#include "pollux/pollux.h"\n', "lib/wire/x.cc")],
        [source('#include "pollux/base/x.h"\n#include "pollux/wire/y.h"\n', "lib/wire/x.cc"),
         source('#include "pollux/base/x.h"\n', "drivers_glue/x.cc")]),
    "foreign_headers": (
        [source("#include <yaml-cpp/yaml.h>\n", "drivers_glue/x.cc"), source("#include <CLI/CLI.hpp>\n"),
         source("#include <fmt/format.h>\n")],
        [source("#include <yaml-cpp/yaml.h>\n", "config/x.cc"), source("#include <gtest/gtest.h>\n", "tests/unit/x.cc")]),
    "file_length": (
        [source("int x;\n" * 651), source("x = 1\n" * 651, "tests/x.py"), source("#!/bin/bash\n" * 651, "tests/run")],
        [source("int x;\n" * 650), source("x\n" * 2000, "tests/corpus.txt")]),
    "function_length": (
        [source(LONG_FUNCTION), source("namespace n { struct S { " + LONG_FUNCTION + "}; }"),
         source("def f():\n" + "    g()\n" * 80, "tests/x.py")],
        [source("namespace n {\n" + "void f() {}\n" * 90 + "}\n"), source("struct S {\n" + "int x{3};\n" * 90 + "};\n"),
         source("S::S()\n    : a_{1},\n      b_(2) {\n" + "f();\n" * 70 + "}\n")]),
    "machine_paths": (
        [source("// see /home/" "someone/notes\n"), source("cd /root/" "src\n", "README.md"),
         source("x = '/work/" "main'\n", "tests/x.py")],
        [source("#include <dpdk/work/x>\n"), source("cd tests/work/x\n", "README.md")]),
    "leftovers": (
        [source("// TO" "DO: finish\n"), source("FIX" "ME\n", "README.md")], [source("// all done, not to do\n")]),
    "stray_files": ([source("int x;\n", "lib/tcp/x.cc.orig"), source("x\n", "README.md~")], [source("int x;\n")]),
    "links": (
        [{"README.md": "[a](lib/nowhere.md)\n"}, {"README.md": "hello\n", "lib/README.md": "x\n"}],
        [{"README.md": "[a](lib/README.md) [b](lib) [c](https://example.org/)\n", "lib/README.md": "[up](../README.md)\n"}]),
    "readme_copies": (
        [{"README.md": "```cpp\nint a;\n```\n## Measured\n| x | 1 |\n## Next\n", "apps/examples/echo_server.cc": "int b;\n",
          "bench/README.md": "| x | 1 |"},
         {"README.md": "```cpp\nint a;\n```\n## Measured\n| x | 1 |\n## Next\n", "apps/examples/echo_server.cc": "int a;\n",
          "bench/README.md": "| x | 2 |"},
         {"README.md": "```cpp\nint a;\n```\n", "apps/examples/echo_server.cc": "int a;\n"}],
        [{"README.md": "```cpp\nint a;\n```\n## Measured\n| x | 1,000 |\n## Next\n",
          "apps/examples/echo_server.cc": "int a;\n", "bench/README.md": "| x | 1,000 | 3 |"}]),
    "reasons_used": (
        [{"lib/base/drop_reason.def": 'POLLUX_DROP(lost, "it got lost")\n',
          "lib/base/counter.def": 'POLLUX_COUNTER(seen, "Seen", "packets seen")\n', "lib/x.cc": "Counter::seen;\n"},
         {"lib/base/drop_reason.def": 'POLLUX_DROP(lost, "lost")\n',
          "lib/base/counter.def": 'POLLUX_COUNTER(seen, "Seen", "packets seen")\n',
          "lib/x.cc": "Counter::seen; DropReason::lost;\n"}],
        [{"lib/base/drop_reason.def": 'POLLUX_DROP(lost, "it got lost")\n',
          "lib/base/counter.def": 'POLLUX_COUNTER(seen, "Seen", "packets seen")\n',
          "lib/x.cc": "Counter::seen; DropReason::lost;\n"}]),
    "suites_registered": (
        [{"tests/new/x.cc": "", "tests/runner.py": '"unit"'},
         {"tests/unit/a_test.cc": "", "tests/unit/meson.build": "executable('x', 'b_test.cc')\n", "tests/runner.py": '"unit"'},
         {"tests/unit/meson.build": "test('unit/x', x, protocol: 'gtest')\n", "tests/runner.py": '"unit"'}],
        [{"tests/unit/a_test.cc": "", "tests/runner.py": '"unit"',
          "tests/unit/meson.build": "x = executable('x', 'a_test.cc')\ntest('unit/x', x, suite: 'unit')\n"}]),
    "no_skips": (
        [source("TEST(A, DISABLED_b) {}\n", "tests/unit/x.cc"), source("TEST(A, B) { GTEST_SKIP(); }\n", "tests/unit/x.cc"),
         source("@unittest.skip('later')\n", "tests/kernel/x.py")],
        [source("TEST(A, B) { EXPECT_TRUE(f()); }  // GTEST_SKIP\n", "tests/unit/x.cc")]),
    "public_headers": (
        [source('#include "pollux/stack/stack.h"\n', "drivers_glue/pollux.h"),
         {"meson.build": TABLE, "drivers_glue/pollux.h": "", "lib/wire/meson.build": "public_headers += {'wire': ['x.h']}"}],
        [{"meson.build": TABLE, "drivers_glue/pollux.h": '#include "pollux/wire/x.h"\n',
          "lib/wire/x.h": '#include "pollux/base/r.def"\n',
          "lib/base/meson.build": "public_headers += {'base': ['r.def']}\n",
          "lib/wire/meson.build": "public_headers += {'wire': [\n  'x.h']}\n"}]),
    "headers_alone": (
        [source("inline std::uint8_t f() { return 1; }\n", "lib/base/x.h"),
         {"meson.build": TABLE, "lib/base/x.h": '#include "pollux/wire/y.h"\n', "lib/wire/y.h": "\n"}],
        [source("#include <cstdint>\ninline std::uint8_t f() { return 1; }\n", "lib/base/x.h")]),
}
