// CHECK aborts the process with the state that broke; it stays on in release builds, so use it off the hot
// path. DCHECK is for hot paths and is compiled out unless POLLUX_DCHECK is 1 (debug and sanitizer builds).
#pragma once

namespace pollux::internal {
/// Prints "file:line: CHECK(expression) failed: message" on stderr and aborts. `format` is printf's.
[[noreturn, gnu::cold, gnu::format(printf, 4, 5)]] void check_failed(const char* file, int line,
                                                                     const char* expression,
                                                                     const char* format, ...) noexcept;
}  // namespace pollux::internal

/// CHECK(condition, "printf format", args...): a bug, not an input error, when it fires.
#define POLLUX_CHECK(condition, ...)                                                          \
  do {                                                                                        \
    if (!(condition)) [[unlikely]]                                                            \
      ::pollux::internal::check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__);          \
  } while (false)

#ifndef POLLUX_DCHECK_ON
#define POLLUX_DCHECK_ON 0
#endif

#if POLLUX_DCHECK_ON
#define POLLUX_DCHECK(condition) POLLUX_CHECK(condition, "debug check")
#else
#define POLLUX_DCHECK(condition) \
  do {                           \
    (void)sizeof(condition);     \
  } while (false)
#endif
