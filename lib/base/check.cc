#include "pollux/base/check.h"

#include "pollux/base/check_hook.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace pollux {
namespace {
void (*check_hook)() noexcept = nullptr;
}

void set_check_hook(void (*hook)() noexcept) noexcept { check_hook = hook; }

namespace internal {

void check_failed(const char* file, int line, const char* expression, const char* format, ...) noexcept {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed: ", file, line, expression);
  va_list args;
  va_start(args, format);
  std::vfprintf(stderr, format, args);
  va_end(args);
  std::fputc('\n', stderr);
  std::fflush(stderr);
  auto* const hook = check_hook;
  check_hook = nullptr;  // a CHECK that fails in the hook only aborts
  if (hook != nullptr) hook();
  std::abort();
}

}  // namespace internal
}  // namespace pollux
