"""Reads C++ well enough for rules: text without comments and strings, and where functions begin and end."""
import dataclasses
import re

_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)
_CONTAINER = re.compile(r"(^|[\s>])(namespace|class|struct|union|enum|extern)\b")
_CONTROL = re.compile(r"^(if|for|while|switch|catch|do|else|return|using|static_assert)\b")


def code_only(text):
    """The text with comments, string contents and preprocessor lines blanked; line numbers stay."""
    def blank(match):
        token = match.group(0)
        kept = "\n" * token.count("\n")
        if token.startswith("/"):
            return " " + kept
        if token.startswith("'") and re.search(r"[0-9a-fA-F]$", text[:match.start()][-1:]):
            return token  # a digit separator, 1'000
        return '""' + kept if token[0] in '"R' else "' '" + kept
    text = _TOKEN.sub(blank, text)
    return re.sub(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.M)


@dataclasses.dataclass
class Function:
    name: str
    header: str  # from the return type to the opening brace, initialiser list included
    body: str
    first_line: int
    last_line: int

    @property
    def lines(self):
        return self.last_line - self.first_line + 1

    @property
    def is_noexcept(self):
        return re.search(r"\bnoexcept\b(?!\s*\()", self.header) is not None


def matching_brace(code, opening):
    depth = 0
    for at in range(opening, len(code)):
        if code[at] == "{":
            depth += 1
        elif code[at] == "}":
            depth -= 1
            if depth == 0:
                return at
    return len(code) - 1


def functions(text):
    """Every function definition, members in classes included; a lambda belongs to its function."""
    code = code_only(text)
    found = []
    start = at = 0  # of the current declaration
    parentheses = 0
    while at < len(code):
        c = code[at]
        if c in "()":
            parentheses = max(0, parentheses + (1 if c == "(" else -1))
        elif c == "{" and parentheses:
            at = matching_brace(code, at)
        elif c == "{":
            header = code[start:at].strip()
            if _is_initialiser(header):
                at = matching_brace(code, at)
            elif _is_function(header):
                end = matching_brace(code, at)
                first = code.count("\n", 0, start + len(code[start:at]) - len(code[start:at].lstrip())) + 1
                found.append(Function(_name(header), header, code[at:end + 1], first, code.count("\n", 0, end) + 1))
                at = end
                start = at + 1
            else:
                start = at + 1  # a namespace or a class: its members come next
        elif c in ";}" and not parentheses:
            start = at + 1
        elif c == ":" and re.search(r"\b(public|private|protected)\s*$", code[start:at]):
            start = at + 1
        at += 1
    return found


def _is_function(header):
    bare = re.sub(r"\[\[.*?\]\]", "", header).strip()
    return "(" in bare and not _CONTROL.match(bare) and not _CONTAINER.search(bare.split("(")[0])


def _is_initialiser(header):
    """A brace that begins a value, not a body: `int x{`, `= {`, or a member in a constructor's list."""
    if header.endswith(("=", ",", "return")):
        return True
    if _CONTAINER.search(header.split("(")[0]):
        return False
    if "(" not in header:
        return bool(header)
    in_list = re.search(r"\)\s*(noexcept\s*)?(?<!:):(?!:)", header)
    return bool(in_list and re.search(r"[\w>]$", header))


def _name(header):
    before = re.sub(r"\[\[.*?\]\]", "", header).split("(")[0].split()
    if before and before[-1].startswith("TEST"):
        return header.replace("\n", " ")
    return before[-1] if before else header
