"""The architecture's rules. Each takes the sources and yields what breaks it; each has a bad sample that it must
catch and a good one that it must leave alone (RULES at the end)."""
import ast
import concurrent.futures
import os
import pathlib
import posixpath
import re
import subprocess
import tempfile

from source import code_only, functions

FILE_LINES = 650
FUNCTION_LINES = 80
CODE = (".cc", ".h")


class Tree:
    """The project's files: path from the root -> text. Rules read nothing else, so a sample is a Tree too."""

    def __init__(self, files):
        self.files = files

    def under(self, *folders, ends=CODE):
        return {path: text for path, text in sorted(self.files.items())
                if path.startswith(tuple(folder + "/" for folder in folders)) and path.endswith(ends)}

    def ending(self, *ends):
        return {path: text for path, text in sorted(self.files.items()) if path.endswith(ends)}

    def is_script(self, path):
        return path.endswith(".py") or self.files[path].startswith("#!")


def located(path, code, pattern, why):
    for match in re.finditer(pattern, code):
        yield f"{path}:{code.count(chr(10), 0, match.start()) + 1}: {match.group(0).strip()}: {why}"


# --- What lib/ may not call -------------------------------------------------------------------------------------

BANNED = {
    r"\brte_(eal|eth|lcore)_\w+|\brte_lcore\w*": "lib/ knows no device, core or EAL",
    r"\brte_(rdtsc|get_tsc|get_timer|delay)\w*|\b\w+_clock\b|\b(clock_gettime|gettimeofday|nanosleep|usleep)\b":
        "lib/ reads no clock; time comes in as `now`",
    r"\brandom_device\b|\bs?rand\s*\(|\bgetrandom\b|\brte_rand\w*": "randomness comes in as a seed or a secret",
    r"\bstd::(recursive_|shared_|timed_)*mutex\b|\bpthread_\w+|\bstd::j?thread\b|\brte_(spin|rw)lock\w*|\block_guard\b":
        "one core owns everything in lib/: no locks or threads",
    r"\bstd::atomic\w*|\b__atomic_\w+|\b__sync_\w+|\brte_atomic\w+": "one core owns everything in lib/: no atomics",
    r"\bstd::(unordered_)?(multi)?(map|set)\s*<": "a node per entry; use HashIndex, a Slab or a sorted array",
    r"\bstd::(cout|cerr|clog)\b|\b(printf|puts)\s*\(": "lib/ counts, it does not print",
    r"\bstd::function\b": "allocates; use a template parameter or a virtual handler",
}


def banned_calls(tree):
    """No device, clock, thread, lock, atomic or node container under lib/."""
    for path, text in tree.under("lib").items():
        for pattern, why in BANNED.items():
            yield from located(path, code_only(text), pattern, why)


def no_exceptions(tree):
    """Nothing under lib/ throws or catches."""
    for path, text in tree.under("lib").items():
        yield from located(path, code_only(text), r"\b(throw|try|catch)\b", "exceptions stay out of lib/")


ALLOCATION = (r"(?<!operator )\bnew\s+\w|\bmake_(unique|shared)\b|\b(m|c|re)alloc\s*\(|\bto_string\s*\("
              r"|\bstd::(vector|string|deque|list)\b(?![\w:]*(<[^;{}()]*>)?\s*[&*])")


def no_allocation(tree):
    """A noexcept function under lib/ allocates nothing.

    The data path is noexcept; constructors and set-up, which may allocate, are not."""
    for path, text in tree.under("lib").items():
        for function in functions(text):
            for match in re.finditer(ALLOCATION, function.body if function.is_noexcept else ""):
                yield f"{path}:{function.first_line}: {function.name} is noexcept and allocates: {match.group(0)}"


# --- Layers -----------------------------------------------------------------------------------------------------

def layer_table(tree):
    """name -> (folder, names it may include, itself and what those may include too), from the top meson.build."""
    row = re.compile(r"^\s*\['(\w+)', '([\w/]+)', \[([^\]]*)\], \[[^\]]*\]\],", re.M)
    table = {}
    for name, folder, below in row.findall(tree.files["meson.build"]):
        allowed = {name}
        for other in re.findall(r"\w+", below):
            allowed |= table[other][1]
        table[name] = (folder, allowed)
    return table


def include_direction(tree):
    """A layer includes itself and what lies below it, always as "pollux/<layer>/x.h"."""
    table = layer_table(tree)
    if len(table) < 2:
        yield "meson.build: layer_list not found"
    for name, (folder, allowed) in table.items():
        for path, text in tree.under(folder).items():
            for include in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
                parts = include.split("/")
                if parts[0] != "pollux" or len(parts) < 2:
                    yield f'{path}: "{include}": write "pollux/<layer>/..."'
                elif len(parts) > 2 and parts[1] not in allowed:
                    yield f"{path}: {name} may not include {parts[1]} ({include})"
                elif len(parts) == 2:
                    yield f"{path}: {include} is for applications; include what is used"


FOREIGN = {"yaml-cpp/": ("config",), "CLI/": ("apps", "bench"), "nlohmann/": ("apps", "bench"),
           "fmt/": ("drivers_glue", "config", "apps", "bench"), "gtest/": ("tests",), "benchmark/": ("bench",)}


def foreign_headers(tree):
    """Each external library has its place."""
    for path, text in tree.ending(*CODE).items():
        for include in re.findall(r"^\s*#\s*include\s*<([^>]+)>", text, re.M):
            for prefix, folders in FOREIGN.items():
                if include.startswith(prefix) and not path.startswith(tuple(f + "/" for f in folders + ("tests",))):
                    yield f"{path}: <{include}> belongs in {', '.join(folders)}"


# --- Size -------------------------------------------------------------------------------------------------------

def file_length(tree):
    """No source file is longer than 650 lines (aim: 600)."""
    for path, text in tree.files.items():
        if (path.endswith(CODE) or tree.is_script(path)) and text.count("\n") > FILE_LINES:
            yield f"{path}: {text.count(chr(10))} lines, at most {FILE_LINES}: split it by job"


def function_length(tree):
    """No function is longer than 80 lines (aim: 70)."""
    for path, text in tree.ending(*CODE).items():
        for function in functions(text):
            if function.lines > FUNCTION_LINES:
                yield f"{path}:{function.first_line}: {function.name} has {function.lines} lines, at most {FUNCTION_LINES}"
    for path in tree.files:
        if path.endswith(".py") or re.match(r"#!.*python", tree.files[path]):
            for node in ast.walk(ast.parse(tree.files[path])):
                if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= FUNCTION_LINES:
                    yield f"{path}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"


# --- Words ------------------------------------------------------------------------------------------------------

def machine_paths(tree):
    """No path of somebody's machine."""
    for path, text in tree.files.items():
        yield from located(path, text, r"(?<![\w./$}\"])/(work|home|root|Users)/\w+", "a path of one machine")


def leftovers(tree):
    """No notes to self."""
    for path, text in tree.files.items():
        yield from located(path, text, r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b", "finish it or open an issue")


def stray_files(tree):
    """No file that a tool left behind."""
    for path in tree.files:
        if re.search(r"(~|\.(orig|rej|bak|swp|o|so|a))$", path):
            yield f"{path}: left behind by a tool"


def links(tree):
    """Relative links in documents lead somewhere, and every README is linked from the one above it."""
    folders = {posixpath.dirname(path) for path in tree.files}
    for path, text in tree.ending(".md").items():
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
            goal = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            if "://" not in target and goal not in tree.files and goal not in folders:
                yield f"{path}: link to {target}, which does not exist"
    for path in tree.ending("/README.md"):
        above = "tests/README.md" if path.count("/") > 1 and path.startswith("tests/") else "README.md"
        if f"]({posixpath.relpath(path, posixpath.dirname(above) or '.')})" not in tree.files.get(above, ""):
            yield f"{above} does not link {path}"


def readme_copies(tree):
    """What the top README copies, it copies exactly: the example servers and the figures of bench/README.md."""
    readme = tree.files.get("README.md", "")
    server = tree.files.get("apps/examples/echo_server.cc", "")
    if f"```cpp\n{server}```\n" not in readme:
        yield "README.md: the server differs from apps/examples/echo_server.cc"
    examples = tree.under("apps/examples", ends=(".c", ".cc")).values()
    for block in re.findall(r"^```c(?:pp)?\n(.*?)^```$", readme, re.M | re.S):
        if not any(block in text for text in examples):
            yield f"README.md: not in apps/examples: {block.split(chr(10))[0]}"
    measured = re.search(r"^## Measured$(.*?)^## ", readme, re.M | re.S)
    rows = re.findall(r"^(\| [^|]+ \| [\d.,]+ \|)$", measured.group(1), re.M) if measured else []
    if not rows:
        yield "README.md has no figures under Measured"
    for row in rows:
        if row not in tree.files.get("bench/README.md", ""):
            yield f"README.md: the figure {row} is not in bench/README.md"


# --- Counters and drop reasons ------------------------------------------------------------------------------------

def defined(tree, path, macro):
    return re.findall(rf"^{macro}\((\w+),(.*)\)$", tree.files.get(path, ""), re.M)


def reasons_used(tree):
    """Every drop reason and counter is used in code, exists once, and is explained."""
    code = "\n".join(code_only(text) for text in tree.under("lib", "drivers_glue").values())
    for path, macro, kind in (("lib/base/drop_reason.def", "POLLUX_DROP", "DropReason"),
                              ("lib/base/counter.def", "POLLUX_COUNTER", "Counter")):
        rows = defined(tree, path, macro)
        if not rows:
            yield f"{path}: no {macro} line"
        names = [name for name, _ in rows]
        for name, rest in rows:
            if not re.search(rf"\b{kind}::{name}\b", code):
                yield f"{path}: {name} is never used"
            if names.count(name) > 1:
                yield f"{path}: {name} is there twice"
            if len(re.findall(r'"([^"]*)"', rest)[-1].split()) < 2:
                yield f"{path}: {name} is not explained"


# --- Tests --------------------------------------------------------------------------------------------------------

MESON_SUITES = ("unit", "state", "script", "sim", "vdev", "fuzz")


def suites_registered(tree):
    """Every suite is in tests/run, every test source in its meson.build, every test under its suite."""
    runner = tree.files.get("tests/runner.py", "")
    for folder in sorted({path.split("/")[1] for path in tree.files if path.startswith("tests/") and path.count("/") > 1}):
        if folder != "support" and f'"{folder}"' not in runner:
            yield f"tests/runner.py does not run tests/{folder}"
    for suite in MESON_SUITES:
        build = re.sub(r"#.*", "", tree.files.get(f"tests/{suite}/meson.build", ""))
        for path in tree.under(f"tests/{suite}", ends=".cc"):
            stem = posixpath.basename(path).removesuffix(".cc")
            if not {stem, stem.removeprefix(suite + "_")} & set(re.findall(r"'([^']+?)(?:\.cc)?'", build)):
                yield f"{path} is not in tests/{suite}/meson.build"
        for call in re.findall(r"\btest\((.*?)\)\s*(?:\n|$)", build, re.S):
            if f"suite: '{suite}'" not in call:
                yield f"tests/{suite}/meson.build: test({call.split(',')[0]}) is not in suite '{suite}'"


def no_skips(tree):
    """No test is skipped or switched off."""
    for path, text in tree.under("tests").items():
        yield from located(path, code_only(text), r"\bGTEST_SKIP\b|\bDISABLED_\w+", "every test runs")
    for path, text in tree.under("tests/kernel", "tests/vdev", ends=".py").items():
        yield from located(path, text, r"@unittest\.(skip|expectedFailure)\w*|\.skipTest\(", "every test runs")


# --- Public headers -------------------------------------------------------------------------------------------------

def public_closure(tree):
    """Layer -> headers and .def files that programs see: <pollux/pollux.h>, <pollux/config/load.h> and live_config_file.h (a
    program's own options in the same file), coroutines, the C API, the wire formats (for those who feed a Stack by hand), and
    what these include."""
    table = layer_table(tree)
    roots = (("config", "load.h"), ("config", "live_config_file.h"), ("async", "tcp_stream.h"), ("sockets", "px.h"))
    seen = {(layer, name) for layer, name in roots if layer in table and f"{table[layer][0]}/{name}" in tree.files}
    seen |= {("wire", posixpath.basename(path)) for path in tree.under("lib/wire", ends=".h")}
    waiting = [path for path in tree.files if posixpath.basename(path) == "pollux.h"]
    waiting += [f"{table[layer][0]}/{name}" for layer, name in seen]
    while waiting:
        for include in re.findall(r'#\s*include\s*"pollux/(\w+)/([^"]+)"', tree.files.get(waiting.pop(), "")):
            if include not in seen and include[0] in table:
                seen.add(include)
                waiting.append(f"{table[include[0]][0]}/{include[1]}")
    return {layer: sorted(name for owner, name in seen if owner == layer) for layer in table}


def public_headers(tree):
    """The installed headers are those that programs see, neither fewer nor more."""
    table = layer_table(tree)
    for layer, needed in public_closure(tree).items():
        path = f"{table[layer][0]}/meson.build"
        listed = re.search(rf"public_headers \+= {{'{layer}': \[(.*?)\]}}", tree.files.get(path, ""), re.S)
        listed = sorted(re.findall(r"'([^']+)'", listed.group(1))) if listed else []
        if listed != needed:
            yield (f"{path}: public_headers of {layer}: add {sorted(set(needed) - set(listed))}, "
                   f"remove {sorted(set(listed) - set(needed))}")


def headers_alone(tree):
    """Every header of a layer compiles alone, seeing only the layers it may see."""
    table = layer_table(tree)
    flags = subprocess.run(["pkg-config", "--cflags", "libdpdk"], check=True, capture_output=True, text=True).stdout
    base = ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-missing-field-initializers",
            *flags.replace("-I/", "-isystem/").split(), "-x", "c++"]
    with tempfile.TemporaryDirectory() as root:
        for path, text in tree.files.items():
            for name, (folder, _) in table.items():
                if path.startswith(folder + "/") and path.endswith((".h", ".def")):
                    copy = pathlib.Path(root, name, "pollux", name, path[len(folder) + 1:])
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_text(text)

        def compile_alone(layer, header):
            includes = [f"-I{root}/{other}" for other in table[layer][1]]
            done = subprocess.run([*base, *includes, "-"], input=f'#include "pollux/{layer}/{header}"\n', text=True,
                                  capture_output=True, check=False)
            errors = [line for line in done.stderr.split("\n") if "error" in line]
            return f"{layer}/{header} does not compile alone: {(errors or [done.stderr])[0]}" if done.returncode else None

        headers = [(name, path[len(folder) + 1:]) for name, (folder, _) in table.items()
                   for path in tree.under(folder, ends=".h") if not path.endswith("/pollux.h")]
        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            yield from filter(None, pool.map(lambda item: compile_alone(*item), headers))


RULES = [banned_calls, no_exceptions, no_allocation, include_direction, foreign_headers, file_length, function_length,
         machine_paths, leftovers, stray_files, links, readme_copies, reasons_used, suites_registered, no_skips,
         public_headers, headers_alone]
