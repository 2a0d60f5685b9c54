#include "pollux/base/check.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace pollux::internal {

void check_failed(const char* file, int line, const char* expression, const char* format, ...) noexcept {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed: ", file, line, expression);
  va_list args;
  va_start(args, format);
  std::vfprintf(stderr, format, args);
  va_end(args);
  std::fputc('\n', stderr);
  std::abort();
}

}  // namespace pollux::internal
